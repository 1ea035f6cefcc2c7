"""``-A``: which app a name means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel.app.configuring.finding import AppNotFound, find_app

Write = Callable[[str, str], None]

APP = "from umbel import Umbel\n{} = Umbel('{}', set_as_current=False)\n"


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


@pytest.mark.parametrize("attribute", ["app", "umbel", "celery", "anything"])
def test_an_app_in_a_module_is_found_under_any_name(write: Write, attribute: str) -> None:
    write("shop", APP.format(attribute, "found"))

    assert find_app("shop").main == "found"


def test_usual_names_come_before_others(write: Write) -> None:
    write("shop", APP.format("other", "other") + APP.format("app", "right"))

    assert find_app("shop").main == "right"


@pytest.mark.parametrize("name", ["proj.work:jobs", "proj.work.jobs"])
def test_an_attribute_can_be_named(write: Write, name: str) -> None:
    write("proj.__init__", "")
    write("proj.work", APP.format("app", "no") + APP.format("jobs", "yes"))

    assert find_app(name).main == "yes"


@pytest.mark.parametrize("submodule", ["celery", "umbel"])
def test_an_app_in_a_module_of_a_package_is_found(write: Write, submodule: str) -> None:
    write("proj.__init__", "")
    write(f"proj.{submodule}", APP.format("app", "inside"))

    assert find_app("proj").main == "inside"


def test_a_module_without_an_app_says_what_was_looked_for(write: Write) -> None:
    write("shop", "x = 1")

    with pytest.raises(AppNotFound, match=r"there is no app in 'shop'.*shop:app, shop:umbel"):
        find_app("shop")


def test_a_module_that_is_not_there_is_guessed(write: Write) -> None:
    write("tasks", "")

    with pytest.raises(AppNotFound, match=r"no module 'taks' .* Did you mean 'tasks'\?"):
        find_app("taks")


def test_an_attribute_that_is_not_there_is_guessed(write: Write) -> None:
    write("shop", APP.format("worker_app", "a"))

    with pytest.raises(AppNotFound, match=r"no 'work_app'\. Did you mean 'worker_app'\?"):
        find_app("shop:work_app")


def test_something_else_is_no_app(write: Write) -> None:
    write("shop", "app = 3")

    with pytest.raises(AppNotFound, match=r"shop:app is not an app but a builtins\.int"):
        find_app("shop:app")


def test_an_app_of_celerys_is_recognized(write: Write) -> None:
    write("shop", "from celery import Celery\napp = Celery('shop', set_as_current=False)")

    with pytest.raises(AppNotFound, match="from umbel import Celery"):
        find_app("shop")


def test_a_module_that_fails_shows_the_users_frames_only(write: Write) -> None:
    write("shop", "import inner")
    write("inner", "def f():\n    raise ValueError('broken here')\nf()")

    with pytest.raises(AppNotFound) as caught:
        find_app("shop")

    said = str(caught.value)
    assert "broken here" in said
    assert "inner.py" in said
    assert "importlib" not in said
    assert "finding.py" not in said


def test_a_module_that_misses_another_one_is_not_taken_for_missing(write: Write) -> None:
    write("shop", "import no_such_thing")

    with pytest.raises(AppNotFound, match=r"'shop' cannot be imported(.|\n)*no_such_thing"):
        find_app("shop")
