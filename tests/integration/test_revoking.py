"""Revoking tasks, in place: every broker that keeps revocations."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from umbel import Umbel, signals
from umbel.exceptions import TaskRevokedError

from . import in_place

working = partial(in_place.working, concurrency=1)


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What receivers of task_revoked were told."""
    heard: list[dict[str, Any]] = []

    def note(**named: Any) -> None:
        heard.append(named)

    signals.task_revoked.connect(note)
    yield heard
    signals.task_revoked.disconnect(note)


async def revoked(app: Umbel, id_: str, reason: str = "revoked") -> None:
    with pytest.raises(TaskRevokedError, match=f"^{reason}$"):
        await app.AsyncResult(id_).aget(timeout=60)


@pytest.mark.parametrize("late", [False, True])
async def test_what_waits_is_not_run_and_its_state_says_so(
    app: Umbel, late: bool, told: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    gate, ran, running = threading.Event(), list[int](), threading.Event()

    @app.task(name="work", acks_late=late)
    def work(number: int) -> None:
        ran.append(number)
        running.set()
        gate.wait(60)

    caplog.set_level("INFO")
    async with working(app) as worker:
        results = [await work.adelay(number) for number in range(5)]
        await asyncio.to_thread(running.wait, 20)

        assert await worker.revoke([result.id for result in results[1:4]]) == []
        for result in results[1:4]:
            await revoked(app, result.id)
        gate.set()
        await worker.settled(5)

        assert [await result.aget(timeout=60) for result in (results[0], results[4])] == [
            None,
            None,
        ]
    assert ran == [0, 4]
    for result in results[1:4]:
        assert f"Discarding revoked task: work[{result.id}]" in caplog.text
    assert [(each["sender"].name, each["terminated"], each["expired"]) for each in told] == [
        ("work", False, False)
    ] * 3


async def test_a_task_that_is_due_later_is_revoked_at_once(app: Umbel) -> None:
    ran = threading.Event()

    @app.task
    def work() -> None:
        ran.set()

    async with working(app) as worker:
        far = await work.aapply_async(countdown=3600)
        near = await work.aapply_async(countdown=0.3)
        await worker.revoke([far.id, near.id])

        await revoked(app, far.id)
        await revoked(app, near.id)
        await worker.settled(1)
    assert not ran.is_set()


async def test_a_finished_task_stays_what_it_is(app: Umbel) -> None:
    @app.task
    def work() -> int:
        return 7

    async with working(app) as worker:
        result = await work.adelay()
        assert await result.aget(timeout=60) == 7

        assert await worker.revoke(result.id, terminate=True) == []
        assert await result.aget(timeout=60) == 7


async def test_stamped_tasks_are_revoked_by_their_stamp(app: Umbel) -> None:
    @app.task
    def work() -> str:
        return "ran"

    async with working(app) as worker:
        await worker.revoke_by_stamped_headers({"tenant": ["a", "b"]})
        stamped = [
            await work.aapply_async(stamped_headers=["tenant"], tenant=tenant) for tenant in "abc"
        ]

        await revoked(app, stamped[0].id)
        await revoked(app, stamped[1].id)
        assert await stamped[2].aget(timeout=60) == "ran"


async def test_a_worker_that_starts_later_knows_what_was_revoked(app: Umbel) -> None:
    @app.task
    def work() -> str:
        return "ran"

    waiting = [await work.aapply_async(queue="other") for _ in range(2)]
    async with working(app) as worker:
        await worker.revoke(waiting[0].id)

    async with working(app, queues="other"):
        await revoked(app, waiting[0].id)
        assert await waiting[1].aget(timeout=60) == "ran"


async def test_what_is_revoked_while_no_worker_runs_never_runs(app: Umbel) -> None:
    @app.task
    def work() -> str:
        return "ran"

    results = [await work.aapply_async() for _ in range(4)]
    stamped = await work.aapply_async(stamped_headers=["tenant"], tenant="acme")
    red = await work.aapply_async(stamped_headers=["colour"], colour="red")
    later = await work.aapply_async()
    tell = app.control.abroadcast
    await tell("revoke", {"task_id": results[0].id, "terminate": True})
    await tell("revoke", {"task_id": [results[1].id]})
    await tell("terminate", {"task_id": [results[2].id], "signal": "KILL"}, reply=True, timeout=0.1)
    await tell("revoke_by_stamped_headers", {"headers": {"tenant": ["acme"]}})
    await tell("revoke_by_stamped_headers", {"headers": ["colour=red"]})
    # That is for this worker alone, which is not there.
    await tell("revoke", {"task_id": results[3].id}, ["nobody@nowhere"])

    async with working(app):
        for result in (*results[:3], stamped, red):
            await revoked(app, result.id)
        assert await results[3].aget(timeout=60) == "ran"
        assert await later.aget(timeout=60) == "ran"


async def test_a_running_coroutine_is_ended_on_request_only(
    app: Umbel, told: list[dict[str, Any]]
) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> str:
        started.set()
        await gate.wait()
        return "done"

    async with working(app, pool="asyncio", concurrency=10) as worker:
        spared = await work.adelay()
        await started.wait()
        await worker.revoke(spared.id)
        started.clear()
        ended = await work.adelay()
        await started.wait()

        assert await worker.revoke(ended.id, terminate=True) == [ended.id]
        await revoked(app, ended.id, "terminated")
        gate.set()
        await worker.settled(2)
        assert await spared.aget(timeout=60) == "done"
    assert [(each["terminated"], each["signum"]) for each in told] == [(True, signal.SIGTERM)]


async def test_an_unknown_signal_is_refused_and_nothing_is_revoked(app: Umbel) -> None:
    async with working(app) as worker:
        with pytest.raises(ValueError, match="'SIGNONE' is not a signal"):
            await worker.revoke("x", terminate=True, signal="SIGNONE")

        assert not len(worker.state.revocations)
