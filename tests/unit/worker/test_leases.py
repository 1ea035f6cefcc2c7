"""Holding on to messages for as long as they take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from umbel.clock import ManualClock
from umbel.drivers.memory.broker import MemoryBroker
from umbel.drivers.memory.store import MemoryStore
from umbel.model import Delivery, Message, Queue
from umbel.worker.settling.leases import Leases

LEASE = 30.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def broker(clock: ManualClock) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(MemoryStore(), clock=clock, lease=LEASE)
    await broker.open()
    await broker.declare([Queue("q")])
    yield broker
    await broker.close()


@pytest.fixture
async def leases(broker: MemoryBroker, clock: ManualClock) -> AsyncIterator[Leases]:
    leases = Leases(broker, clock)
    running = asyncio.create_task(leases.run())
    await asyncio.sleep(0)
    yield leases
    running.cancel()
    await asyncio.wait([running])


async def received(broker: MemoryBroker, *ids: str) -> list[Delivery]:
    await broker.publish([Message(id=id_, body=b"[]", routing_key="q") for id_ in ids])
    return await broker.receive(["q"], limit=len(ids), wait=0)


async def test_what_is_held_is_kept_however_long_it_takes(
    broker: MemoryBroker, leases: Leases, clock: ManualClock
) -> None:
    held = await received(broker, "a", "b")
    leases.hold(held)

    for _ in range(20):
        await clock.advance(LEASE / 2)

    assert await broker.receive(["q"], limit=10, wait=0) == []
    assert await broker.ack(held) == []


async def test_what_is_released_is_renewed_no_more(
    broker: MemoryBroker, leases: Leases, clock: ManualClock
) -> None:
    held = await received(broker, "a")
    leases.hold(held)
    leases.release(held)

    await clock.advance(LEASE + 1)

    assert [d.message.id for d in await broker.receive(["q"], limit=10, wait=0)] == ["a"]


async def test_a_lost_lease_is_reported_once_and_remembered(
    broker: MemoryBroker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    [stale] = await received(broker, "a")
    await clock.advance(LEASE + 1)
    [_] = await broker.receive(["q"], limit=1, wait=0)
    leases = Leases(broker, clock)
    leases.hold([stale])

    with caplog.at_level(logging.WARNING):
        await leases.renew(LEASE)
        await leases.renew(LEASE)

    assert leases.is_lost(stale)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a" in caplog.messages[0]

    leases.forget([stale])
    assert not leases.any_lost


async def test_what_is_being_settled_is_renewed_until_it_is(
    broker: MemoryBroker, leases: Leases, clock: ManualClock
) -> None:
    held = await received(broker, "a")
    leases.hold(held)

    with leases.settling(held):
        for _ in range(4):
            await clock.advance(LEASE / 2)
        assert await broker.receive(["q"], limit=10, wait=0) == []
    await clock.advance(LEASE + 1)

    assert [d.message.id for d in await broker.receive(["q"], limit=10, wait=0)] == ["a"]


async def test_what_was_settled_a_moment_ago_is_not_reported_as_lost(
    broker: MemoryBroker, leases: Leases, caplog: pytest.LogCaptureFixture
) -> None:
    held = await received(broker, "a")
    leases.hold(held)

    with leases.settling(held):
        await broker.ack(held)
        await leases.renew(LEASE)

    assert caplog.messages == []
    assert not leases.any_lost


async def test_who_stood_still_asks_what_is_lost_before_anything_else(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    leases = Leases(broker, clock)
    [stale] = await received(broker, "a")
    leases.hold([stale])
    assert not leases.are_doubtful

    await clock.advance(LEASE + 1)
    await broker.receive(["q"], limit=1, wait=0)

    assert leases.are_doubtful
    assert not leases.is_lost(stale)
    await leases.verify()
    assert leases.is_lost(stale)
    assert not leases.are_doubtful


class Bedside(ManualClock):
    """A clock of a machine that may sleep: its monotonic part sleeps too."""

    slept = 0.0

    def time(self) -> float:
        return super().time() + self.slept


async def test_a_machine_that_slept_is_noticed_by_the_wall_clock(broker: MemoryBroker) -> None:
    clock = Bedside()
    leases = Leases(broker, clock)
    assert not leases.are_doubtful

    clock.slept = LEASE

    assert leases.are_doubtful
