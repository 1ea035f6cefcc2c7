"""A worker in place whose broker and result backend fail at chosen calls."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from umbel import Umbel
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.protocols import Broker, Capabilities, ResultBackend
from umbel.testing.faults import (
    FaultPlan,
    FaultyBackend,
    FaultyBroker,
    applied_then_raising,
    faulty_broker,
    raising,
)
from umbel.wire import tasks as wire
from umbel.wire.call import Call
from umbel.worker import Worker

from .in_place import working

CUT = BrokerUnavailable("the wire was cut")
AWAY = BackendUnavailable("the backend is away")
LEASE = 0.6


class FragileApp(Umbel):
    """An app whose workers' drivers go by a plan."""

    plan: FaultPlan
    delays = True
    """Whether the broker can wait until a message is due."""

    def make_broker(self) -> Broker:
        broker = faulty_broker(super().make_broker(), self.plan)
        return broker if self.delays else Impatient(broker, FaultPlan())

    def make_backend(self) -> ResultBackend:
        return FaultyBackend(super().make_backend(), self.plan)


class Impatient(FaultyBroker):
    """A broker that hands out everything at once."""

    @property
    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(self.inner.capabilities, delay=False)


@pytest.fixture(params=["together", "apart"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FragileApp]:
    """Broker and backend that commit together, or do not."""
    broker = f"memory://{tmp_path}"
    backend = broker if request.param == "together" else f"{broker}/results"
    app = FragileApp("test", broker=broker, backend=backend, set_as_current=False)
    app.plan = FaultPlan()
    app.conf.update(worker_lease=LEASE)
    yield app
    await app.aclose()


async def client(app: FragileApp) -> Broker:
    """Another client of the same broker, without faults."""
    return Umbel.make_broker(app)


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    while not any(text in message for message in caplog.messages):  # noqa: ASYNC110 - logs tell nobody
        await asyncio.sleep(0.01)


async def test_the_worker_goes_on_when_the_broker_is_back(app: FragileApp) -> None:
    @app.task
    def noop() -> None: ...

    for call in (1, 2):
        app.plan.on("receive", call, raising(CUT))
    async with working(app) as worker:
        await noop.adelay()
        await worker.settled(1)


@pytest.mark.parametrize("acks_late", [False, True])
async def test_results_outlive_a_backend_that_is_away(app: FragileApp, acks_late: bool) -> None:
    @app.task(acks_late=acks_late)
    def add(x: int, y: int) -> int:
        return x + y

    for method in ("store", "settle"):
        for call in (1, 2):
            app.plan.on(method, call, raising(AWAY))
    async with working(app) as worker:
        results = [await add.adelay(n, n) for n in range(5)]
        await worker.settled(5)

        assert [await result.aget(timeout=60) for result in results] == [0, 2, 4, 6, 8]


async def test_tasks_go_on_while_the_backend_is_away(app: FragileApp) -> None:
    ran = threading.Semaphore(0)

    @app.task
    def noop() -> None:
        ran.release()

    app.plan.always("store", raising(AWAY))
    app.plan.always("settle", raising(AWAY))
    async with working(app) as worker:
        for _ in range(10):
            await noop.adelay()
        for _ in range(10):
            assert await asyncio.to_thread(ran.acquire, timeout=10)
        app.plan.always("store", None)
        app.plan.always("settle", None)
        await worker.settled(10)


@pytest.mark.parametrize("effect", [raising(CUT), applied_then_raising(CUT)])
async def test_a_beginning_that_is_cut_off_costs_nothing(app: FragileApp, effect: Any) -> None:
    runs: list[int] = []

    @app.task
    def once() -> None:
        runs.append(1)

    app.plan.on("begin", 1, effect)
    async with working(app) as worker:
        await once.adelay()
        await worker.settled(1)

    assert runs == [1]


async def test_what_a_late_task_returns_after_its_lease_was_lost_has_no_effect(
    app: FragileApp, caplog: pytest.LogCaptureFixture
) -> None:
    started, finish = threading.Event(), threading.Event()

    @app.task(acks_late=True)
    def slow() -> str:
        started.set()
        finish.wait(60)
        return "too late"

    app.plan.always("extend", raising(CUT))
    # No room for a second message: the worker shall not get its own one back.
    async with working(app, concurrency=1, disable_prefetch=True):
        result = await slow.adelay()
        await asyncio.to_thread(started.wait, 10)
        thief = await client(app)
        await thief.open()
        [stolen] = await thief.receive(["celery"], limit=1, wait=10)
        app.plan.always("extend", None)
        await until_logged(caplog, "Lost 1 messages")
        await thief.ack([stolen])
        finish.set()
    await thief.close()

    assert await app.AsyncResult(result.id).astate() == "PENDING"
    lines = [record for record in caplog.records if "Lost 1 messages" in record.getMessage()]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert result.id in lines[0].getMessage()


async def test_what_the_broker_cannot_put_off_waits_here_and_stays_leased(app: FragileApp) -> None:
    app.delays = False
    runs: list[float] = []

    @app.task(name="later")
    def later() -> None:
        runs.append(datetime.now(UTC).timestamp())

    due = datetime.now(UTC) + timedelta(seconds=2 * LEASE)
    message = wire.encode(Call(task="later", id="a", eta=due))
    async with working(app) as worker:
        # As a Celery producer writes it: the broker knows nothing of it.
        sender = await app.connections.broker()
        await sender.publish([msgspec.structs.replace(message, not_before=None)])
        await worker.settled(1)

    assert len(runs) == 1
    assert runs[0] >= due.timestamp()


async def test_what_waits_here_goes_back_at_the_end(app: FragileApp) -> None:
    app.delays = False

    @app.task(name="later")
    def later() -> None: ...

    due = datetime.now(UTC) + timedelta(hours=1)
    message = wire.encode(Call(task="later", id="a", eta=due))
    sender = await app.connections.broker()
    await sender.publish([msgspec.structs.replace(message, not_before=None)])
    async with working(app) as worker:
        while not worker.state.holding:  # noqa: ASYNC110 - nobody waits for this but tests
            await asyncio.sleep(0.01)

    assert (await sender.stats(["celery"]))["celery"].ready == 1


async def test_a_part_that_fails_ends_the_worker_and_its_messages_go_back(app: FragileApp) -> None:
    started, finish = threading.Event(), threading.Event()

    @app.task(acks_late=True)
    def slow() -> None:
        started.set()
        finish.wait(60)

    sender = await app.connections.broker()
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - leaving is what raises
        async with working(app) as worker:
            await slow.adelay()
            await asyncio.to_thread(started.wait, 10)
            app.plan.always("extend", raising(RuntimeError("a bug")))
            await worker.settled(1)
    finish.set()

    assert "a bug" in repr(caught.value)
    assert (await sender.stats(["celery"]))["celery"].ready == 1


async def test_results_are_given_up_only_as_the_settings_say(
    app: FragileApp, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def noop() -> None: ...

    app.plan.always("store", raising(AWAY))
    app.conf.update(result_backend_max_retries=3, result_backend_base_sleep_between_retries_ms=1)
    if app.backend_url == app.broker_url:
        pytest.skip("together, neither is away without the other")
    async with working(app) as worker:
        await noop.adelay()
        await worker.settled(1)

    assert app.plan.calls("store") == 4
    lost = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert ["The results of 1 tasks are lost" in record.getMessage() for record in lost] == [True]


@pytest.mark.parametrize("away", ["backend", "broker"])
async def test_a_worker_whose_servers_are_away_ends_and_says_what_it_could_not_settle(
    app: FragileApp,
    away: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("umbel.worker.parts._GRACE", 2.0)
    started, finish = threading.Semaphore(0), threading.Event()

    @app.task(acks_late=True)
    def wait() -> None:
        started.release()
        assert finish.wait(60)

    methods = {
        "backend": ("store", "settle"),
        "broker": ("ack", "nack", "settle", "receive", "extend"),
    }
    error = AWAY if away == "backend" else CUT
    worker = Worker(app, pool="threads", concurrency=1, quiet=True)
    working = asyncio.create_task(worker.arun())
    for _ in range(3):
        await wait.adelay()
    await asyncio.to_thread(started.acquire)

    for method in methods[away]:
        app.plan.always(method, raising(error))
    finish.set()
    worker.stop()

    assert await working == 1
    could_not = [message for message in caplog.messages if message.startswith("Could not ")]
    assert "Could not store and acknowledge 1 tasks that have ended within " in could_not[-1]
    # What has not answered for that long is not waited for as long at every step.
    assert [message.count("within 2 seconds") for message in could_not].count(1) == 1
