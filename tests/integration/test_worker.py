"""A worker in place: the real pools, drivers and app, without a process of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from umbel import Umbel, signals
from umbel.exceptions import Ignore, ImproperlyConfigured, NotRegistered, Reject, TaskRevokedError
from umbel.model import Message, QueueStats
from umbel.wire import tasks as wire
from umbel.wire.call import Call
from umbel.worker import Worker

from .in_place import working

POOLS = ["threads", "solo", "asyncio"]


async def put(app: Umbel, *messages: Message) -> None:
    await (await app.connections.broker()).publish(messages)


async def stats(app: Umbel) -> QueueStats:
    broker = await app.connections.broker()
    return (await broker.stats(["celery"]))["celery"]


@pytest.mark.parametrize("pool", POOLS)
async def test_tasks_run_and_their_results_are_kept(app: Umbel, pool: str) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    async with working(app, pool=pool) as worker:
        results = [await add.adelay(n, n) for n in range(20)]
        await worker.settled(20)

        assert [await result.aget(timeout=60) for result in results] == [2 * n for n in range(20)]


async def test_coroutine_tasks_run_side_by_side(app: Umbel) -> None:
    both = asyncio.Barrier(2)

    @app.task
    async def meet() -> None:
        await both.wait()

    async with working(app, pool="asyncio") as worker:
        await meet.adelay()
        await meet.adelay()
        await worker.settled(2)


async def test_an_unknown_task_fails_and_the_next_one_runs(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def good() -> str:
        return "done"

    async with working(app) as worker:
        bad = await app.asend_task("nobody.knows")
        fine = await good.adelay()
        await worker.settled(2)

        with pytest.raises(NotRegistered):
            await bad.aget(timeout=60)
        assert await fine.aget(timeout=60) == "done"
    assert any("nobody.knows" in line and bad.id in line for line in caplog.messages)
    assert await stats(app) == QueueStats()


async def test_an_expired_task_is_revoked_and_never_runs(app: Umbel) -> None:
    ran = threading.Event()

    @app.task(name="tea")
    def tea() -> None:
        ran.set()

    past = datetime.now(UTC) - timedelta(seconds=5)
    # As from producers that do not tell the broker: the header alone.
    call = Call(task="tea", id="stale", expires=past)
    async with working(app) as worker:
        await put(app, wire.encode(call))
        await worker.settled(1)

        with pytest.raises(TaskRevokedError, match="expired"):
            await app.AsyncResult("stale").aget(timeout=60)
    assert not ran.is_set()


async def test_a_task_with_a_countdown_runs_no_sooner(app: Umbel) -> None:
    @app.task
    def now() -> float:
        return datetime.now(UTC).timestamp()

    async with working(app) as worker:
        sent = datetime.now(UTC).timestamp()
        result = await now.aapply_async(countdown=0.5)
        await worker.settled(1)

        assert await result.aget(timeout=60) - sent >= 0.5


async def test_an_eta_that_the_broker_was_not_told_of_is_kept_all_the_same(app: Umbel) -> None:
    @app.task(name="now")
    def now() -> float:
        return datetime.now(UTC).timestamp()

    due = datetime.now(UTC) + timedelta(seconds=0.5)
    message = wire.encode(Call(task="now", id="later", eta=due))
    async with working(app) as worker:
        # As a Celery producer writes it.
        await put(app, msgspec.structs.replace(message, not_before=None))
        await worker.settled(1)

        ran = await app.AsyncResult("later").aget(timeout=60)
    assert ran >= due.timestamp()


@pytest.mark.parametrize("acks_late", [False, True])
async def test_messages_stay_with_the_broker_until_their_task_has_ended(
    app: Umbel, acks_late: bool
) -> None:
    started, finish = threading.Event(), threading.Event()

    @app.task(acks_late=acks_late)
    def wait() -> None:
        started.set()
        finish.wait(60)

    async with working(app) as worker:
        await wait.adelay()
        await asyncio.to_thread(started.wait, 10)
        leased = (await stats(app)).leased
        finish.set()
        await worker.settled(1)

        assert leased == 1
        assert await stats(app) == QueueStats()


async def test_a_task_can_give_its_message_back(app: Umbel) -> None:
    runs: list[int] = []

    @app.task(acks_late=True)
    def picky() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise Reject("not now", requeue=True)
        return "now"

    async with working(app) as worker:
        result = await picky.adelay()
        await worker.settled(1)

        assert await result.aget(timeout=60) == "now"
    assert len(runs) == 2


async def test_what_a_task_rejects_or_ignores_is_gone(app: Umbel) -> None:
    @app.task(acks_late=True)
    def reject() -> None:
        raise Reject("never")

    @app.task(acks_late=True)
    def ignore() -> None:
        raise Ignore

    async with working(app) as worker:
        await reject.adelay()
        await ignore.adelay()
        await worker.settled(2)

        assert await stats(app) == QueueStats()


async def test_a_retried_task_runs_again_with_the_same_id(app: Umbel) -> None:
    @app.task(bind=True, max_retries=3)
    def stubborn(self: Any) -> tuple[str, int]:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.id, self.request.retries

    async with working(app) as worker:
        result = await stubborn.adelay()
        await worker.settled(3)

        assert await result.aget(timeout=60) == [result.id, 2]


def garbage(number: int) -> Message:
    """Messages that are wrong in ten ways."""
    kinds: list[dict[str, Any]] = [
        {"headers": b"not JSON"},
        {"headers": b'{"task": "good"}'},
        {"headers": b'{"id": "x"}'},
        {"headers": b'{"task": 7, "id": {}}'},
        {"headers": b"[]"},
        {"headers": b'{"task": "good", "id": "x", "eta": "tomorrow"}'},
        {"headers": b'{"task": "good", "id": "x", "retries": "many"}'},
        {"content_type": "application/x-python-serialize"},
        {"content_type": "application/unheard-of"},
        {"body": b"\xff\xfe", "headers": b"\x00"},
    ]
    fields = {"id": f"bad-{number}", "body": b"[[], {}, {}]", **kinds[number % len(kinds)]}
    return Message(**fields)


async def test_a_flood_of_malformed_messages_stops_nothing(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "umbel.worker.reports")

    @app.task(name="good")
    def good(number: int) -> int:
        return number

    good_ones = [
        wire.encode(Call(task="good", id=f"good-{number}", args=(number,))) for number in range(200)
    ]
    bad_ones = [garbage(number) for number in range(10_000)]
    for index in range(200):
        await put(app, good_ones[index], *bad_ones[index * 50 : (index + 1) * 50])
    async with working(app) as worker:
        await worker.settled(10_200)

        values = [await app.AsyncResult(one.id).aget(timeout=60) for one in good_ones]
        assert values == list(range(200))
        assert await stats(app) == QueueStats()


async def test_each_malformed_message_is_reported_in_one_line(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(app) as worker:
        await put(app, *(garbage(number) for number in range(10)))
        await worker.settled(10)

    lines = [record for record in caplog.records if record.name == "umbel.worker.reports"]
    assert len(lines) == 10
    assert all("Received and deleted unknown message" in line.getMessage() for line in lines)
    assert all("\n" not in line.getMessage() for line in lines)


async def test_a_warm_shutdown_finishes_what_runs_and_gives_back_the_rest(app: Umbel) -> None:
    started, finish = threading.Event(), threading.Event()
    ran: list[int] = []

    @app.task
    def step(number: int) -> int:
        started.set()
        finish.wait(60)
        ran.append(number)
        return number

    results = [await step.adelay(number) for number in range(6)]
    async with working(app, concurrency=1) as worker:
        await asyncio.to_thread(started.wait, 10)
        worker.stop()
        asyncio.get_running_loop().call_later(0.1, finish.set)

    assert ran == [0]
    assert (await stats(app)).ready == 5

    async with working(app) as worker:
        await worker.settled(5)

        assert [await result.aget(timeout=60) for result in results] == list(range(6))
    assert sorted(ran) == list(range(6))


async def test_a_cold_shutdown_gives_late_tasks_back_and_reports_early_ones(app: Umbel) -> None:
    both, release = threading.Barrier(3), threading.Event()

    @app.task
    def early() -> None:
        both.wait(60)
        release.wait(60)

    @app.task(acks_late=True)
    def late() -> None:
        both.wait(60)
        release.wait(60)

    lost = await early.adelay()
    await late.adelay()
    async with working(app) as worker:
        await asyncio.to_thread(both.wait, 10)
        worker.stop()
        worker.stop("cold")
    release.set()

    counts = await stats(app)
    assert (counts.ready, counts.leased) == (1, 0)
    assert (
        await app.AsyncResult(lost.id).aget(timeout=60, propagate=False)
    ).__class__.__name__ == ("WorkerLostError")


async def test_signals_say_what_the_worker_does(app: Umbel) -> None:
    heard: list[str] = []

    def listen(name: str) -> None:
        def receiver(**given: Any) -> None:
            heard.append(f"{name} {given['request'].name}" if "request" in given else name)

        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=name)

    names = [
        "worker_init",
        "worker_ready",
        "task_received",
        "worker_shutting_down",
        "worker_shutdown",
    ]
    for name in names:
        listen(name)

    @app.task(name="noop")
    def noop() -> None: ...

    try:
        async with working(app) as worker:
            await noop.adelay()
            await worker.settled(1)
    finally:
        for name in names:
            getattr(signals, name).disconnect(dispatch_uid=name)

    assert heard == [
        "worker_init",
        "worker_ready",
        "task_received noop",
        "worker_shutting_down",
        "worker_shutdown",
    ]


async def test_only_the_chosen_queues_are_served(app: Umbel) -> None:
    app.conf.update(task_create_missing_queues=True)

    @app.task
    def where() -> str:
        return "here"

    mail = await where.aapply_async(queue="mail")
    other = await where.aapply_async(queue="other")
    async with working(app, queues="mail") as worker:
        await worker.settled(1)

        assert await mail.aget(timeout=60) == "here"
        assert await app.AsyncResult(other.id).astate() == "PENDING"


async def test_purging_drops_what_waits(app: Umbel) -> None:
    @app.task
    def noop() -> None: ...

    await noop.adelay()
    async with working(app, purge=True):
        assert await stats(app) == QueueStats()


def test_a_pool_that_is_not_here_is_refused(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match="whirlpool"):
        Worker(app, pool="whirlpool")
