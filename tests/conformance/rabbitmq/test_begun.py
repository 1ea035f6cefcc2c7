"""What was begun on RabbitMQ: never work again, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime

import pytest

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.drivers.rabbitmq.salvage import gathering
from umbel.exceptions import BrokerUnavailable
from umbel.model import Delivery
from umbel.testing.conformance.messages import ids, message, take
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RabbitMQServer, rabbitmq_server

NOTICED = 2.0
"""Seconds, in these tests, after which somebody else learns of what a dead worker had begun."""

Start = Callable[..., Awaitable[RabbitMQBroker]]


@pytest.fixture
async def start(rabbitmq: RabbitMQServer) -> AsyncIterator[Start]:
    """One more worker's broker, over a port of one's choice."""
    async with AsyncExitStack() as stack:

        async def start(port: int = 0, **options: object) -> RabbitMQBroker:
            broker = RabbitMQBroker(
                f"amqp://guest:guest@127.0.0.1:{port or rabbitmq.port}//",
                clock=SystemClock(),
                transport_options=options,
                max_retries=0,
                notice_within=NOTICED,
            )
            await broker.open()
            stack.push_async_callback(close, broker)
            return broker

        yield start


async def close(broker: RabbitMQBroker) -> None:
    with suppress(BrokerUnavailable):
        await broker.close()


async def take_begun(broker: RabbitMQBroker, queue: str, number: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(found) < number:
            found += await broker.receive([queue], limit=number, wait=5)
    return found


def die(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()


async def test_what_a_dead_worker_had_begun_comes_once_more_and_says_so(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy:
        dead, other = await start(proxy.port), await start()
        await dead.publish(
            [message(name, routing_key=queue, priority=1) for name in ("begun", "ended", "not")]
        )
        begun, ended, _ = taken = await take(dead, 3, queue)
        assert await dead.begin(taken[:2]) == []
        assert await dead.begin(taken[:2]) == []
        assert (await dead.stats([queue]))[queue].leased == 3
        assert await dead.ack([ended]) == []
        await dead.stats([queue])
        die(proxy)

        found = await take_begun(other, queue, 2)

    by_id = {each.message.id: each for each in found}
    assert {name: each.begun for name, each in by_id.items()} == {"begun": True, "not": False}
    lost = by_id["begun"]
    assert (lost.queue, lost.redelivered, lost.attempt) == (queue, True, 1)
    assert lost.message == begun.message
    assert await other.ack(found) == []
    assert await other.receive([queue], limit=9, wait=NOTICED) == []


async def test_what_a_frozen_worker_had_begun_comes_though_it_was_first_in_line_for_losses(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy:
        frozen = await start(proxy.port, heartbeat=1)
        await frozen.publish([message("begun", routing_key=queue)])
        taken = await take(frozen, 1, queue)
        assert await frozen.begin(taken) == []
        other = await start()
        assert await other.receive([queue], limit=1, wait=0.2) == []
        # Neither end is told; what comes for it goes nowhere.
        proxy.blackhole()

        [found] = await take_begun(other, queue, 1)

    assert (found.message.id, found.begun) == ("begun", True)


def test_notes_that_have_been_with_somebody_else_are_gathered_for_a_shorter_time() -> None:
    died = b'{"x-death":[{"count":1,"time":"2026-11-21T12:00:00+00:00"}]}'
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()

    assert gathering(died, now=noon, most=8.0) == 8.0
    assert gathering(died, now=noon + 5, most=8.0) == 3.0
    assert gathering(died, now=noon + 20, most=8.0) == 1.0
    # A clock that is behind, and what cannot be read.
    assert gathering(died, now=noon - 100, most=8.0) == 8.0
    for unclear in (b"{}", b'{"x-death":[]}', b'{"x-death":"often"}', b"nothing"):
        assert gathering(unclear, now=noon, most=8.0) == 8.0


async def test_a_living_worker_keeps_what_it_has_begun(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    living, other = await start(), await start()
    await living.publish([message(str(n), routing_key=queue) for n in range(50)])
    taken = await take(living, 50, queue)
    await living.begin(taken)

    assert await other.receive([queue], limit=9, wait=2 * NOTICED) == []

    assert await living.extend(taken, lease=1) == []
    assert await living.ack(taken) == []
    assert await other.receive([queue], limit=9, wait=1.2 * NOTICED) == []
    assert f"umbel.lost.{queue}\t0" in await asyncio.to_thread(
        rabbitmq.control, "list_queues", "name", "messages"
    )


async def test_a_short_interruption_of_the_network_is_not_a_death(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy:
        living, other = await start(proxy.port), await start()
        await living.publish([message("a", routing_key=queue)])
        taken = await take(living, 1, queue)
        await living.begin(taken)

        for _ in range(3):
            proxy.cut()
            assert await other.receive([queue], limit=9, wait=NOTICED / 2) == []

        assert await living.ack(taken) == []
        assert await other.receive([queue], limit=9, wait=1.5 * NOTICED) == []


async def test_what_is_begun_outlives_a_restart_of_rabbitmq(queue: str) -> None:
    with rabbitmq_server() as server, Proxy(server.port) as proxy:
        brokers = [
            RabbitMQBroker(
                f"amqp://guest:guest@127.0.0.1:{port}//",
                clock=SystemClock(),
                max_retries=None,
                notice_within=NOTICED,
            )
            for port in (proxy.port, server.port)
        ]
        living, other = brokers
        await living.publish([message(name, routing_key=queue) for name in ("a", "b")])
        taken = await take(living, 2, queue)
        await living.begin(taken)

        # In order: RabbitMQ forgets its latest acknowledgements when it is killed.
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

        assert await other.receive([queue], limit=9, wait=2.5 * NOTICED) == []
        assert await living.ack(taken[:1]) == []
        await living.stats([queue])
        die(proxy)
        [lost] = await take_begun(other, queue, 1)
        assert (lost.message.id, lost.begun) == ("b", True)
        await other.ack([lost])
        for broker in brokers:
            await close(broker)


async def test_who_finds_a_loss_and_dies_leaves_the_rest_to_others(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    with Proxy(rabbitmq.port) as first, Proxy(rabbitmq.port) as second:
        dead, finder = await start(first.port), await start(second.port)
        await dead.publish([message(name, routing_key=queue) for name in "abc"])
        taken = await take(dead, 3, queue)
        await dead.begin(taken)
        die(first)
        found = await take_begun(finder, queue, 3)
        assert await finder.ack(found[:1]) == []
        await finder.stats([queue])
        die(second)

        last = await start()
        rest = await take_begun(last, queue, 2)

    assert sorted(ids(rest)) == sorted(ids(found[1:]))
    assert all(each.begun for each in rest)
    assert await last.ack(rest) == []


async def test_who_closes_leaves_what_it_has_begun_to_be_noticed_at_once(
    rabbitmq: RabbitMQServer, start: Start, queue: str
) -> None:
    closing, other = await start(), await start()
    await closing.publish([message(name, routing_key=queue) for name in ("a", "b")])
    taken = await take(closing, 2, queue)
    await closing.begin(taken[:1])

    await closing.close()

    async with asyncio.timeout(NOTICED / 2):
        found = await take_begun(other, queue, 2)
    assert {each.message.id: each.begun for each in found} == {
        taken[0].message.id: True,
        taken[1].message.id: False,
    }
    assert await other.nack([each for each in found if each.begun]) == []
    [again] = await take(other, 1, queue)
    assert (again.message.id, again.begun) == (taken[0].message.id, False)
    names = await asyncio.to_thread(rabbitmq.control, "list_queues", "name")
    assert f".{queue}" not in names.replace(f"umbel.lost.{queue}", "")


async def test_a_rabbitmq_that_takes_no_messages_is_emptied_all_the_same(queue: str) -> None:
    with rabbitmq_server() as server:
        broker = RabbitMQBroker(server.url(), clock=SystemClock(), notice_within=NOTICED)
        await broker.open()
        await broker.publish([message(str(n), routing_key=queue) for n in range(3)])
        taken = await take(broker, 3, queue)
        await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "absolute", "1")

        async with asyncio.timeout(30):
            assert await broker.begin(taken) == []
            assert await broker.ack(taken) == []

        await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.6")
        async with asyncio.timeout(30):
            await broker.publish([message("later", routing_key=queue)])
            assert ids(await take(broker, 1, queue)) == ["later"]
        await broker.close()


async def test_what_is_held_for_long_outlives_the_consumer_timeout(queue: str) -> None:
    with rabbitmq_server("consumer_timeout = 6000") as server, Proxy(server.port) as proxy:
        # Once a minute, otherwise.
        server.control("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
        holder, other = (
            RabbitMQBroker(
                f"amqp://guest:guest@127.0.0.1:{port}//",
                clock=SystemClock(),
                max_retries=0,
                transport_options={"consumer_timeout": 6},
                notice_within=0.5,
            )
            for port in (proxy.port, server.port)
        )
        await holder.publish([message(name, routing_key=queue) for name in ("a", "b")])
        taken = await take(holder, 2, queue)

        assert await other.receive([queue], limit=1, wait=9) == []

        assert await holder.extend(taken, lease=1) == []
        assert (await holder.stats([queue]))[queue].leased == 2
        assert await holder.ack(taken[:1]) == []
        assert await other.receive([queue], limit=1, wait=1) == []
        die(proxy)
        [again] = await take(other, 1, queue)
        assert (again.message.id, again.attempt, again.redelivered, again.begun) == (
            *(taken[1].message.id, 2),
            *(True, False),
        )
        assert again.message.body == taken[1].message.body
        assert await other.ack([again]) == []
        await close(holder)
        await close(other)
