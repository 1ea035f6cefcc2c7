"""The command line against Celery's, option by option; and what others add to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
from celery.bin.celery import celery

from umbel.cli.main import umbel
from umbel.cli.session import Session

Run = Callable[..., tuple[int, str, str]]

MISSING: dict[tuple[str, str], str] = {}
"""What Celery's command line has and ours has not, and why."""

OF_OTHERS = {"flower"}
"""Commands of Celery's that entry points add, there as here."""


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if name in OF_OTHERS:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def ours(path: tuple[str, ...]) -> click.Command | None:
    command: click.Command | None = umbel
    for name in path:
        command = command.commands.get(name) if isinstance(command, click.Group) else None
    return command


def flags(command: click.Command) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts if flag[:1] == "-"}


def test_every_command_and_option_of_celerys_is_here() -> None:
    everywhere = flags(umbel)
    missing: set[tuple[str, str]] = set()
    for path, theirs in commands(celery):
        command = ours(path)
        if command is None:
            missing.add((" ".join(path), ""))
            continue
        known = flags(command) | everywhere
        missing |= {(" ".join(path), flag) for flag in flags(theirs) - known}

    assert missing == MISSING.keys()
    assert not flags(celery) - everywhere


SURFACE = Path(__file__).parents[4] / "shared" / "celery-surface" / "cli.json"
"""Celery's surface as data, where it lies beside the project."""


def paths(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below: Any = node.get("commands") or node.get("subcommands") or {}
    named = below.items() if isinstance(below, dict) else [(each["name"], each) for each in below]
    for name, one in named:
        yield (*path, name)
        yield from paths(one, (*path, name))


@pytest.mark.skipif(not SURFACE.exists(), reason="Celery's surface does not lie beside the project")
def test_every_command_of_the_surface_has_a_help_text(run: Run) -> None:
    walked = list(paths(json.loads(SURFACE.read_text())["tree"]))

    assert len(walked) > 30
    assert [path for path in walked if run(*path, "--help")[0] != 0] == []


def test_arguments_are_in_celerys_order() -> None:
    for path, theirs in commands(celery):
        wanted = [each.name for each in theirs.params if isinstance(each, click.Argument)]
        command = ours(path)
        assert command is not None
        got = [each.name for each in command.params if isinstance(each, click.Argument)]
        assert got[: len(wanted)] == wanted, path


def test_flower_gets_an_app_of_celerys_with_our_configuration(run: Run) -> None:
    code, out, _ = run("flower", "--help")
    assert code == 0
    assert "Web based tool" in out
    code, out, _ = run("--help")
    assert "flower  of flower" in out

    code, _, err = run("flower")
    assert code == 1
    assert "Use it with Redis or RabbitMQ" in err


@click.command()
@click.pass_context
def greet(context: click.Context) -> None:
    """Greet."""
    app = context.obj.app
    kind = "ours" if isinstance(context.obj, Session) else type(app).__module__
    click.echo(json.dumps([app.main, kind, app.conf.task_default_queue]))


@pytest.mark.parametrize(
    ("group", "kind"), [("umbel.commands", "ours"), ("celery.commands", "celery.app.base")]
)
def test_a_command_of_another_package_gets_the_app(
    run: Run, monkeypatch: pytest.MonkeyPatch, group: str, kind: str
) -> None:
    monkeypatch.setenv("UMBEL_TASK_DEFAULT_QUEUE", "q")
    added = [EntryPoint("greet", f"{__name__}:greet", group)]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda *, group: [e for e in added if e.group == group]
    )
    monkeypatch.setattr(EntryPoint, "load", lambda _: greet)

    code, out, err = run("--broker", "redis://nowhere:1/0", "greet")

    assert (code, err) == (0, "")
    assert json.loads(out)[:2] == ["shop", kind]


def test_a_command_that_cannot_be_loaded_says_whose_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "nowhere.at.all:command", "umbel.commands")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [broken])

    code, _, err = run("broken")

    assert code == 1
    assert "'broken' of nowhere.at.all:command cannot be loaded" in err


def complete(words: str, shell: str = "bash") -> str:
    return subprocess.run(
        [sys.executable, "-m", "umbel"],
        env={
            **os.environ,
            "_UMBEL_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_shells_complete_commands_and_options() -> None:
    assert "plain,worker" in complete("umbel wor").split()
    assert "plain,flower" in complete("umbel fl").split()
    assert "plain,--concurrency" in complete("umbel worker --conc").split()
    assert "plain,solo" not in complete("umbel worker --conc").split()
