"""The drivers in memory, against their contracts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from umbel.clock import ManualClock, SystemClock
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.broker import MemoryBroker
from umbel.drivers.memory.fanout import MemoryFanout, MemoryTopics
from umbel.drivers.memory.store import MemoryStore, store_of
from umbel.exceptions import BrokerUnavailable, QueueConflict
from umbel.model import Message, Queue
from umbel.protocols import Fanout
from umbel.testing.conformance.backend import BackendContract, MakeBackend, record
from umbel.testing.conformance.broker import BrokerContract, MakeBroker, message
from umbel.testing.conformance.dead_letters import KEPT, DeadLetterContract
from umbel.testing.conformance.fanout import FanoutContract, MakeFanout
from umbel.testing.conformance.messages import ids, messages, take
from umbel.testing.conformance.opening import opening
from umbel.testing.conformance.revocations import RevocationContract
from umbel.testing.conformance.schedules import ScheduleContract
from umbel.testing.conformance.transactions import TransactionContract


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def make_broker(store: MemoryStore, clock: ManualClock) -> AsyncIterator[MakeBroker]:
    async with opening(lambda: MemoryBroker(store, clock=clock, keep_dead=KEPT)) as make:
        yield make


@pytest.fixture
async def make_backend(store: MemoryStore, clock: ManualClock) -> AsyncIterator[MakeBackend]:
    async with opening(lambda: MemoryBackend(store, clock=clock)) as make:
        yield make


class TestMemoryBroker(BrokerContract, DeadLetterContract, RevocationContract, ScheduleContract):
    pass


class TestMemoryBackend(BackendContract):
    pass


class TestMemoryTransactions(TransactionContract):
    pass


class TestMemoryFanout(FanoutContract):
    @pytest.fixture
    def make_fanout(self) -> MakeFanout:
        topics = MemoryTopics()

        async def make() -> Fanout:
            return MemoryFanout(topics)

        return make


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_a_loop_in_another_thread_wakes_a_waiting_receive(store: MemoryStore) -> None:
    clock = SystemClock()
    consumer = MemoryBroker(store, clock=clock, keep_dead=KEPT)
    await consumer.open()

    async def produce() -> None:
        producer = MemoryBroker(store, clock=clock, keep_dead=KEPT)
        await producer.open()
        for number in range(200):
            await producer.publish([message(f"{number}")])
        await producer.close()

    thread = threading.Thread(target=asyncio.run, args=(produce(),))
    receiving = asyncio.create_task(take(consumer, 200))
    await asyncio.sleep(0)
    thread.start()

    assert ids(await receiving) == [f"{number}" for number in range(200)]
    await asyncio.to_thread(thread.join)
    await consumer.close()


async def test_a_loop_in_another_thread_wakes_a_watcher(store: MemoryStore) -> None:
    clock = SystemClock()
    backend = MemoryBackend(store, clock=clock)
    await backend.open()

    async def work() -> None:
        other = MemoryBackend(store, clock=clock)
        await other.open()
        await other.store([record("a")])

    async with asyncio.timeout(30), backend.watch(["a"]) as changes:
        thread = threading.Thread(target=asyncio.run, args=(work(),))
        thread.start()
        [heard] = await anext(changes)
    await asyncio.to_thread(thread.join)

    assert heard == record("a")


async def test_a_queue_cannot_be_declared_with_other_properties(make_broker: MakeBroker) -> None:
    broker = await make_broker()
    await broker.declare([Queue("mail")])

    with pytest.raises(QueueConflict, match="queue 'mail' exists with max_priority=None"):
        await broker.declare([Queue("mail", max_priority=10)])


async def test_a_queues_message_ttl_drops_what_waited_too_long(
    make_broker: MakeBroker, clock: ManualClock
) -> None:
    broker = await make_broker()
    await broker.declare([Queue("q", message_ttl=5)])
    await broker.publish(messages(2))

    await clock.advance(6)

    assert await broker.receive(["q"], limit=9, wait=0) == []


async def test_what_is_dropped_can_be_looked_at(
    make_broker: MakeBroker, store: MemoryStore
) -> None:
    broker = await make_broker()
    await broker.publish([message("a")])

    await broker.nack(await take(broker, 1), requeue=False)

    assert [(each.queue, each.message.id) for each in store.dead.values()] == [("q", "a")]


async def test_a_closed_broker_says_so_and_ends_its_receives(make_broker: MakeBroker) -> None:
    broker = await make_broker()
    receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=100))
    await asyncio.sleep(0)

    await broker.close()

    assert await receiving == []
    with pytest.raises(BrokerUnavailable, match="closed"):
        await broker.publish([Message(id="a", body=b"")])


def test_one_name_is_one_store() -> None:
    assert store_of("memory://") is store_of("cache+memory://")
    assert store_of("memory://") is not store_of("memory://other")
