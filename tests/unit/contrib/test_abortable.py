"""Tasks that are asked to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from umbel import Umbel
from umbel.contrib.abortable import AbortableAsyncResult, AbortableTask
from umbel.contrib.testing.app import TestApp, setup_default_app
from umbel.contrib.testing.worker import start_worker

TIMEOUT = 60


@pytest.fixture
def app() -> Iterator[Umbel]:
    url = f"memory://{uuid4().hex}"
    app = TestApp(broker=url, backend=url, config={"task_track_started": True})
    with setup_default_app(app):
        yield app


@pytest.fixture
def looks(app: Umbel) -> Any:
    begun, asked = threading.Event(), threading.Event()

    @app.task(bind=True, base=AbortableTask)
    def look(self: Any, *, reports: bool = False) -> str:
        begun.set()
        assert asked.wait(TIMEOUT)
        if reports:
            self.update_state(state="PROGRESS", meta={"done": 1})
        return "aborted" if self.is_aborted() else "all done"

    look.begun, look.asked = begun, asked
    return look


@pytest.mark.parametrize("reports", [False, True])
def test_a_running_task_learns_that_it_was_asked_to_end(
    app: Umbel, looks: Any, reports: bool
) -> None:
    with start_worker(app, pool="threads"):
        result = looks.delay(reports=reports)
        assert looks.begun.wait(TIMEOUT)
        result.abort()
        assert result.is_aborted()
        assert not result.ready()
        looks.asked.set()
        assert result.get(timeout=TIMEOUT) == "aborted"
    assert not result.is_aborted()


def test_a_task_that_was_asked_before_it_runs_learns_of_it_too(app: Umbel, looks: Any) -> None:
    looks.asked.set()
    result = looks.delay()
    result.abort()

    with start_worker(app):
        assert result.get(timeout=TIMEOUT) == "aborted"


def test_a_task_that_nobody_asked_runs_to_its_end(app: Umbel, looks: Any) -> None:
    looks.asked.set()

    with start_worker(app):
        result = looks.delay()
        assert result.get(timeout=TIMEOUT) == "all done"


def test_what_has_ended_keeps_its_result(app: Umbel, looks: Any) -> None:
    looks.asked.set()
    with start_worker(app):
        result = looks.delay()
        result.get(timeout=TIMEOUT)

    result.abort()

    again = looks.AsyncResult(result.id)
    assert isinstance(again, AbortableAsyncResult)
    assert (again.state, again.result) == ("SUCCESS", "all done")


def test_in_place_there_is_nothing_to_abort(app: Umbel, looks: Any) -> None:
    looks.asked.set()
    app.conf.task_always_eager = True

    assert looks.delay().get() == "all done"
