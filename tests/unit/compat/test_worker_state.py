"""``celery.worker.state`` shows the books of the worker that runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from tests.unit.compat.peer import StandIn
from umbel.compat.worker import state as live
from umbel.exceptions import WorkerShutdown, WorkerTerminate
from umbel.worker import Worker

state = StandIn("celery.worker.state")


@pytest.fixture
def app() -> Iterator[umbel.Celery]:
    app = umbel.Celery("books", broker="memory://", backend="memory://", set_as_current=False)
    yield app
    app.close()


async def test_what_runs_waits_and_is_held_is_seen_while_it_does(app: umbel.Celery) -> None:
    started, ends = threading.Event(), threading.Event()

    @app.task(name="books.wait")
    def wait() -> None:
        started.set()
        ends.wait(60)

    @app.task(name="books.never")
    def never() -> str:
        return "ran"

    async with Worker(app, pool="threads", concurrency=1, quiet=True) as worker:
        running = wait.delay()
        await asyncio.to_thread(started.wait, 60)
        waiting = wait.delay()
        async with asyncio.timeout(60):
            while waiting.id not in state.requests:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

        assert [(each.id, each.name) for each in state.active_requests] == [
            (running.id, "books.wait")
        ]
        assert {each.id for each in state.reserved_requests} == {running.id, waiting.id}
        assert state.requests[running.id] in state.active_requests
        assert state.requests[waiting.id] not in state.active_requests
        assert len(state.scheduled_requests) == 0

        state.revoked.add("to-be-refused")
        state.merge_revoked(["another"])
        assert "to-be-refused" in state.revoked
        assert list(state.revoked) == ["to-be-refused", "another"]
        refused = never.apply_async(task_id="to-be-refused")

        ends.set()
        await worker.settled(3)
        assert refused.state == "REVOKED"
        assert state.total_count["books.wait"] == 2
        assert (state.total_count["unknown"], state.all_total_count[0]) == (0, 2)
        assert len(state.active_requests) == len(state.requests) == 0


async def test_revocations_are_kept_in_a_file(app: umbel.Celery, tmp_path: Path) -> None:
    async with Worker(app, pool="threads", concurrency=1, quiet=True):
        kept = state.Persistent(live, tmp_path / "state")
        state.revoked.add("first")
        kept.save()
    async with Worker(app, pool="threads", concurrency=1, quiet=True) as second:
        state.Persistent(live, tmp_path / "state")

        assert second.state.revocations.ids == ["first"]


def test_where_no_worker_runs_nothing_can_be_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "running_consumers", set())

    with pytest.raises(RuntimeError, match=r"app\.control\.revoke"):
        state.revoked.add("x")
    assert (list(state.revoked), dict(state.requests), len(state.total_count)) == ([], {}, 0)


def test_the_wish_to_end_is_raised_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    state.maybe_shutdown()
    monkeypatch.setattr(live, "should_stop", 3)
    with pytest.raises(WorkerShutdown) as stop:
        state.maybe_shutdown()
    monkeypatch.setattr(live, "should_terminate", True)
    with pytest.raises(WorkerTerminate):
        state.maybe_shutdown()

    assert stop.value.code == 3


async def test_setting_the_wish_ends_the_worker(
    app: umbel.Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(app, pool="threads", concurrency=1, quiet=True)
    running = asyncio.create_task(worker.arun())
    await worker.ready()

    monkeypatch.setattr(live, "should_stop", True)

    async with asyncio.timeout(60):
        assert await running == 0
