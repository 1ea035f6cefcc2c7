"""Drivers that fail at a chosen call, and calls that are cancelled at a chosen await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from umbel.clock import ManualClock
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.broker import MemoryBroker
from umbel.drivers.memory.store import MemoryStore
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.model import Ack, Message, ResultRecord, Settlement
from umbel.protocols import Transactional
from umbel.testing.faults import (
    FaultPlan,
    FaultyBackend,
    FaultyBroker,
    applied_then_raising,
    cancelling,
    delayed,
    faulty_broker,
    interrupted,
    raising,
)

MESSAGE = Message(id="a", body=b"", routing_key="q")
RECORD = ResultRecord(id="a", state="SUCCESS", body=b"{}")


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def backend(plan: FaultPlan, store: MemoryStore, clock: ManualClock) -> FaultyBackend:
    return FaultyBackend(MemoryBackend(store, clock=clock), plan)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def broker(
    plan: FaultPlan, store: MemoryStore, clock: ManualClock
) -> AsyncIterator[FaultyBroker]:
    broker = faulty_broker(MemoryBroker(store, clock=clock), plan)
    await broker.open()
    yield broker
    await broker.close()


async def ready(broker: FaultyBroker) -> int:
    return (await broker.stats(["q"]))["q"].ready


async def test_the_chosen_call_fails_and_no_other(plan: FaultPlan, broker: FaultyBroker) -> None:
    plan.on("publish", 2, raising(BrokerUnavailable("gone")))

    await broker.publish([MESSAGE])
    with pytest.raises(BrokerUnavailable, match="gone"):
        await broker.publish([MESSAGE])
    await broker.publish([MESSAGE])

    assert await ready(broker) == 2
    assert plan.calls("publish") == 3


async def test_a_lost_confirmation_is_a_call_that_happened(
    plan: FaultPlan, broker: FaultyBroker
) -> None:
    plan.on("publish", 1, applied_then_raising(BrokerUnavailable("gone")))

    with pytest.raises(BrokerUnavailable):
        await broker.publish([MESSAGE])

    assert await ready(broker) == 1


async def test_a_delayed_call_happens_later(
    plan: FaultPlan, broker: FaultyBroker, clock: ManualClock
) -> None:
    plan.on("publish", 1, delayed(5, clock))
    publishing = asyncio.create_task(broker.publish([MESSAGE]))
    await asyncio.sleep(0)

    await clock.advance(4)
    assert await ready(broker) == 0
    await clock.advance(2)
    await publishing

    assert await ready(broker) == 1


async def test_a_call_may_cancel_who_makes_it(plan: FaultPlan, broker: FaultyBroker) -> None:
    plan.on("publish", 1, cancelling())

    publishing = asyncio.create_task(broker.publish([MESSAGE]))
    await asyncio.wait([publishing])

    assert publishing.cancelled()
    assert await ready(broker) == 0


async def test_a_method_may_fail_until_further_notice(
    plan: FaultPlan, backend: FaultyBackend
) -> None:
    await backend.open()
    plan.always("store", raising(BackendUnavailable("gone")))
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            await backend.store([RECORD])

    plan.always("store", None)
    await backend.store([RECORD])

    assert await backend.load(["a"]) == {"a": RECORD}


async def test_a_transactional_broker_stays_one(
    plan: FaultPlan, broker: FaultyBroker, backend: FaultyBackend
) -> None:
    await backend.open()
    assert isinstance(broker, Transactional)
    assert broker.commits_with(backend)
    plan.on("settle", 1, applied_then_raising(BrokerUnavailable("gone")))

    with pytest.raises(BrokerUnavailable):
        await broker.settle(
            [Settlement(delivery=None, verdict=Ack(), record=RECORD)], compose=lambda _, __: []
        )

    assert await backend.load(["a"]) == {"a": RECORD}


@pytest.mark.parametrize("when", ["waiting", "ready"])
async def test_a_call_is_cancelled_at_the_chosen_await(when: str) -> None:
    reached: list[int] = []

    async def work() -> str:
        for number in range(1, 4):
            await asyncio.sleep(0.001)
            reached.append(number)
        return "done"

    outcomes = []
    for at in range(1, 5):
        reached.clear()
        outcomes.append((await interrupted(work(), at=at, when=when), list(reached)))  # type: ignore[arg-type]

    assert outcomes == [
        ((True, None), []),
        ((True, None), [1]),
        ((True, None), [1, 2]),
        ((False, "done"), [1, 2, 3]),
    ]
