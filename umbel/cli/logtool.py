"""``umbel logtool``: what the log files of workers say about tasks.

Source:
    Celery reference, "Command Line Interface", ``celery logtool``; the lines that workers log.
"""

from __future__ import annotations

import fileinput
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import click
import msgspec

from umbel.cli.options import UmbelCommand, UmbelGroup, as_json, json_option
from umbel.cli.session import Session, pass_session

__all__ = ["logtool"]

_ENTRY = re.compile(r"\[\d{4}-\d\d-\d\d ")
_ABOUT_TASK = re.compile(r"\bTask (?P<name>\S+)\[(?P<id>[^\]\s]+)\] (?P<what>.+)")
_files = click.argument("files", nargs=-1, type=click.Path())


class _Entry(msgspec.Struct):
    """One entry of a log: its first line, and those that belong to it."""

    line: str
    more: list[str]
    name: str = ""
    """Of the task it is about, if it is about one."""
    id: str = ""
    what: str = ""
    """``received``, ``succeeded``, ``retry``, or else how the task has failed."""


@click.group(cls=UmbelGroup)
def logtool() -> None:
    """Look through log files of workers: FILES, or standard input."""


@logtool.command(cls=UmbelCommand)
@_files
@json_option
@pass_session
def stats(_session: Session, /, files: Sequence[str], json: bool) -> None:
    """Count tasks: received, completed, succeeded, failed, and how many of each name."""
    received: set[str] = set()
    completed: dict[str, bool] = {}
    names: Counter[str] = Counter()
    for entry in _entries(_lines(files)):
        if entry.what == "received":
            if entry.id not in received:
                names[entry.name] += 1
            received.add(entry.id)
        elif _is_final(entry):
            completed[entry.id] = entry.what == "succeeded"
    good = sum(completed.values())
    about = {
        "total": len(received),
        "errors": len(completed) - good,
        "success": good,
        "completed": len(completed),
        "tasks": dict(names.most_common()),
    }
    if json:
        click.echo(as_json(about))
        return
    click.echo("Report\n======")
    for name in ("total", "errors", "success", "completed"):
        click.echo(f"Task {name}: {about[name]}")
    click.echo("\nTasks\n=====")
    for name, count in names.most_common():
        click.echo(f"{name}: {count}")


@logtool.command(cls=UmbelCommand)
@_files
@pass_session
def traces(_session: Session, /, files: Sequence[str]) -> None:
    """Print entries with a traceback."""
    for entry in _entries(_lines(files)):
        if entry.more:
            click.echo("\n".join((entry.line, *entry.more)))


@logtool.command(cls=UmbelCommand)
@_files
@pass_session
def errors(_session: Session, /, files: Sequence[str]) -> None:
    """Print the line of each task that has not succeeded."""
    for entry in _entries(_lines(files)):
        if _is_final(entry) and entry.what != "succeeded":
            click.echo(entry.line)


@logtool.command(cls=UmbelCommand)
@_files
@json_option
@pass_session
def incomplete(_session: Session, /, files: Sequence[str], json: bool) -> None:
    """Print the ids of tasks that were received and have not ended."""
    open_: dict[str, str] = {}
    for entry in _entries(_lines(files)):
        if entry.what == "received":
            open_[entry.id] = entry.name
        elif _is_final(entry):
            open_.pop(entry.id, None)
    if json:
        click.echo(as_json(open_))
        return
    for name in open_:
        click.echo(f"Did not complete: {name}")


@logtool.command(cls=UmbelCommand)
@_files
@pass_session
def debug(_session: Session, /, files: Sequence[str]) -> None:
    """Print entries that are not about a task."""
    for entry in _entries(_lines(files)):
        if not entry.id:
            click.echo(entry.line)


def _lines(files: Sequence[str]) -> Iterator[str]:
    with fileinput.input(files or ("-",), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            yield line.rstrip("\n")


def _entries(lines: Iterable[str]) -> Iterator[_Entry]:
    entry: _Entry | None = None
    for line in lines:
        if not _ENTRY.match(line):
            # What stands before the first entry belongs to none: the greeting of the worker.
            if entry is not None and line:
                entry.more.append(line)
            continue
        if entry is not None:
            yield entry
        entry = _Entry(line, [])
        found = _ABOUT_TASK.search(line)
        if found is not None:
            entry.name, entry.id = found["name"], found["id"]
            entry.what = found["what"].split(maxsplit=1)[0].rstrip(":")
    if entry is not None:
        yield entry


def _is_final(entry: _Entry) -> bool:
    return bool(entry.id) and entry.what not in {"received", "retry"}
