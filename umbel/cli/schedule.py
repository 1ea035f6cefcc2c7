"""``umbel schedule``: periodic tasks, seen and changed while schedulers run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.options import UmbelCommand, UmbelGroup, as_json, json_option
from umbel.cli.queues import table
from umbel.cli.session import Session, pass_session
from umbel.exceptions import ImproperlyConfigured, UmbelError

if TYPE_CHECKING:
    from umbel.app.scheduling.schedule import ScheduledTask

__all__ = ["schedule_group"]


_names_argument = click.argument("names", nargs=-1, required=True)


@click.group("schedule", cls=UmbelGroup)
def schedule_group() -> None:
    """See and change periodic tasks; schedulers notice within seconds."""


@schedule_group.command("list", cls=UmbelCommand)
@json_option
@pass_session
def list_(session: Session, /, json: bool) -> None:
    """List periodic tasks."""
    found = session.run(session.app.schedule.alist, session.app.broker_url)
    if json:
        click.echo(as_json([_for_programs(each) for each in found]))
        return
    if not found:
        click.echo("There are no periodic tasks.")
        return
    head = ("NAME", "TASK", "WHEN", "RUNS", "LAST", "NEXT", "")
    click.echo(table(head, list(map(_row, found))))


@schedule_group.command(cls=UmbelCommand)
@click.argument("name")
@click.argument("task")
@click.argument("when")
@click.option("-a", "--args", default="[]", help="Arguments, as JSON.")
@click.option("-k", "--kwargs", default="{}", help="Keyword arguments, as JSON.")
@click.option("--queue", help="Where the task is sent to.")
@click.option("--missed", type=click.Choice(["last", "skip", "all"]), help="Of missed times.")
@click.option("--overlap", type=click.Choice(["allow", "skip", "queue"]), help="While one runs.")
@click.option("--jitter", type=float, help="Seconds by which runs are late at most.")
@pass_session
def add(
    session: Session,
    /,
    name: str,
    task: str,
    when: str,
    args: str,
    kwargs: str,
    queue: str | None,
    **rules: Any,
) -> None:
    """Add a periodic task, or replace one that was added.

    WHEN is seconds ("30"), a line of crontab ("*/5 * * * *", "@daily"), or a moment
    ("2027-01-01T12:00").
    """
    entry = {key: value for key, value in rules.items() if value is not None}
    entry |= {"args": _json("--args", args, list), "kwargs": _json("--kwargs", kwargs, dict)}
    if queue is not None:
        entry["options"] = {"queue": queue}
    schedule = session.app.schedule
    _try(session, lambda: schedule.aadd(name, task, _when(when), entry))
    session.say(f"Added {name}.")


@schedule_group.command(cls=UmbelCommand)
@_names_argument
@pass_session
def pause(session: Session, /, names: Sequence[str]) -> None:
    """Stop periodic tasks until they are resumed."""
    _do(session, session.app.schedule.apause, names, "Paused")


@schedule_group.command(cls=UmbelCommand)
@_names_argument
@pass_session
def resume(session: Session, /, names: Sequence[str]) -> None:
    """Let periodic tasks go on."""
    _do(session, session.app.schedule.aresume, names, "Resumed")


@schedule_group.command(cls=UmbelCommand)
@_names_argument
@pass_session
def run(session: Session, /, names: Sequence[str]) -> None:
    """Have periodic tasks run once, now; a running scheduler sends them."""
    _do(session, session.app.schedule.arun, names, "Asked for")


@schedule_group.command(cls=UmbelCommand)
@_names_argument
@pass_session
def remove(session: Session, /, names: Sequence[str]) -> None:
    """Delete periodic tasks that were added."""
    _do(session, session.app.schedule.aremove, names, "Removed")


@schedule_group.command(cls=UmbelCommand)
@click.argument("name")
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=10, show_default=True)
@json_option
@pass_session
def preview(session: Session, /, name: str, count: int, json: bool) -> None:
    """Show the next times of a periodic task, with what changes of clocks do to them."""
    found = _try(session, lambda: session.app.schedule.apreview(name, count))
    if json:
        click.echo(as_json([{"at": each.at.isoformat(), "note": each.note} for each in found]))
        return
    for each in found:
        click.echo(f"{each.at:%a %Y-%m-%d %H:%M:%S %Z}" + (f"  ({each.note})" * bool(each.note)))


def _do(session: Session, change: Callable[..., Any], names: Sequence[str], said: str) -> None:
    _try(session, lambda: change(*names))
    session.say(f"{said} {', '.join(names)}.")


def _try(session: Session, work: Callable[[], Any]) -> Any:
    try:
        return session.run(work, session.app.broker_url)
    except ImproperlyConfigured as error:
        raise click.UsageError(str(error)) from error
    except (KeyError, ValueError) as error:
        raise click.ClickException(str(error.args[0])) from error


def _when(text: str) -> float | str | datetime:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # A line of crontab, or an error that says what it should be.
        return text


def _json(option: str, text: str, kind: type[Any]) -> Any:
    # Only who adds arguments needs it.
    from umbel.serialization import json

    try:
        value = json.loads(text.encode())
    except UmbelError as error:
        raise click.UsageError(f"{option} {text!r} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise click.UsageError(f"{option} {text!r} is not a JSON {_NAMES[kind]}.")
    return value


_NAMES: dict[type, str] = {list: "list", dict: "object"}


def _row(each: ScheduledTask) -> Sequence[str]:
    plan = each.plan
    return (
        each.name,
        "?" if plan is None else plan.task,
        "?" if plan is None else repr(plan.schedule).strip("<>"),
        str(each.count),
        "-" if each.last_run is None else f"{each.last_run:%Y-%m-%d %H:%M:%S}",
        "-" if each.next_run is None else f"{each.next_run:%Y-%m-%d %H:%M:%S}",
        "paused" if each.paused else "",
    )


def _for_programs(each: ScheduledTask) -> dict[str, Any]:
    plan = each.plan
    return {
        "name": each.name,
        "task": None if plan is None else plan.task,
        "schedule": None if plan is None else repr(plan.schedule),
        "args": None if plan is None else list(plan.args),
        "kwargs": None if plan is None else dict(plan.kwargs),
        "paused": each.paused,
        "runs": each.count,
        "last_run": None if each.last_run is None else each.last_run.isoformat(),
        "next_run": None if each.next_run is None else each.next_run.isoformat(),
        "task_id": each.task_id,
        "from_code": each.from_code,
    }
