"""Options that an app adds to the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from umbel import Umbel, signals

Run = Callable[..., tuple[int, str, str]]

PROJECT = """
import click
from umbel import Umbel, signals

app = Umbel("proj", broker="memory://added")
app.user_options["preload"].add(click.Option(["-Z", "--template"], default="default"))


@signals.user_preload_options.connect
def use(options, app, **_):
    print(f"{app.main} uses {options}")
"""


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What receivers of the signal are told."""
    found: list[dict[str, Any]] = []

    def note(**named: Any) -> None:
        found.append(named)

    signals.user_preload_options.connect(note)
    yield found
    signals.user_preload_options.disconnect(note)


def test_every_command_takes_the_apps_preload_options(
    run: Run, app: Umbel, told: list[dict[str, Any]]
) -> None:
    app.user_options["preload"].add(click.Option(["-Z", "--template"], default="default"))

    assert run("report", "-Z", "other")[0] == 0
    assert run("settings")[0] == 0
    assert [(each["app"], each["options"]) for each in told] == [
        (app, {"template": "other"}),
        (app, {"template": "default"}),
    ]
    assert all(callable(each["sender"]) for each in told)


@pytest.mark.parametrize(
    "words", [("-A", "proj", "report", "-Zred"), ("report", "-Zred", "--app=proj")]
)
def test_the_app_may_be_named_before_and_after_the_command(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "proj.py").write_text(PROJECT)

    code, out, err = run(*words)

    assert code == 0, err
    assert "proj uses {'template': 'red'}" in out


def test_the_app_may_be_in_another_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "proj.py").write_text(PROJECT)

    code, out, err = run("report", "--workdir", "deep", "-A", "proj", "-Z", "red")

    assert code == 0, err
    assert "proj uses {'template': 'red'}" in out


def test_help_shows_the_apps_options(run: Run, app: Umbel) -> None:
    app.user_options["preload"].add(click.Option(["--template"], help="The look."))
    app.user_options["worker"].add(click.Option(["--colour"], help="The paint."))

    code, out, _ = run("worker", "--help")

    assert code == 0
    assert "Options of the app:" in out
    assert "The look." in out
    assert "The paint." in out
    assert "The paint." not in run("beat", "--help")[1]


def test_help_needs_no_app(run: Run) -> None:
    assert run("worker", "-A", "nowhere", "--help")[0] == 0


def test_an_option_that_nobody_adds_is_an_error(run: Run, app: Umbel) -> None:
    app.user_options["worker"].add(click.Option(["--colour"]))

    code, _, err = run("report", "--colour", "red")

    assert code == 2
    assert "--colour" in err


def test_the_workers_own_options_come_with_celeryd_init(run: Run, app: Umbel) -> None:
    app.user_options["worker"].add(click.Option(["--colour"]))
    found: list[dict[str, Any]] = []

    def note(options: dict[str, Any], **_: Any) -> None:
        found.append(options)
        # It has said what the test wants to know.
        raise SystemExit(7)

    signals.celeryd_init.connect(note)
    try:
        run("worker", "--colour", "red", "-l", "ERROR", "-c", "3", "-P", "threads")
    finally:
        signals.celeryd_init.disconnect(note)
    [options] = found
    assert options["colour"] == "red"
    assert (options["concurrency"], options["loglevel"]) == (3, "ERROR")
