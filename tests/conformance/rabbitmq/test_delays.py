"""Delayed delivery in RabbitMQ: Celery's topology, shared with Celery, and exact to the moment."""

from __future__ import annotations

import asyncio
import time

import celery
import kombu
import pytest
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.exceptions import BatchError, ImproperlyConfigured
from umbel.model import Exchange, Queue
from umbel.testing.conformance.messages import ids, message, take
from umbel.testing.servers import RabbitMQServer, rabbitmq_server

QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize("arguments", [{}, QUORUM], ids=["classic", "quorum"])
async def test_nothing_is_early_and_everything_comes_once(
    broker: RabbitMQBroker, queue: str, arguments: dict[str, str]
) -> None:
    await broker.declare([Queue(queue, queue_arguments=arguments)])
    now = time.time()
    due = {f"{queue}-{n}": now + n * 0.13 for n in range(20)}
    await broker.publish(
        [message(name, routing_key=queue, not_before=moment) for name, moment in due.items()]
    )

    late: dict[str, float] = {}
    while len(late) < len(due):
        taken = await broker.receive([queue], limit=5, wait=10)
        assert taken
        for each in taken:
            assert each.message.id not in late
            late[each.message.id] = time.time() - due[each.message.id]
            assert (each.message.exchange, each.message.routing_key) == ("", queue)
            assert b"x-" not in each.message.headers
        await broker.ack(taken)

    assert min(late.values()) >= 0
    assert await broker.receive([queue], limit=1, wait=0) == []


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
async def test_a_delayed_message_for_an_exchange_reaches_all_its_queues(
    broker: RabbitMQBroker, queue: str, kind: str
) -> None:
    exchange = Exchange(queue, kind)
    names = [f"{queue}-a", f"{queue}-b"]
    await broker.declare([Queue(name, exchange, "the.key", expires=60) for name in names])
    due = time.time() + 1.2

    await broker.publish(
        [message("a", exchange=queue, routing_key="the.key", not_before=due, priority=3)]
    )

    for name in names:
        [delivery] = await take(broker, 1, name)
        assert time.time() >= due
        got = delivery.message
        assert (got.id, got.exchange, got.routing_key) == ("a", queue, "the.key")
        assert got.priority == 3


async def test_a_delayed_message_for_an_unknown_exchange_is_refused_by_index(
    broker: RabbitMQBroker, queue: str
) -> None:
    due = time.time() + 1.2

    with pytest.raises(BatchError, match="no exchange 'nowhere'") as caught:
        await broker.publish(
            [
                message("a", routing_key=queue, not_before=due),
                message("b", exchange="nowhere", not_before=due),
                message("c", routing_key=queue),
            ]
        )

    assert list(caught.value.errors) == [1]
    assert ids(await take(broker, 1, queue)) == ["c"]
    assert ids(await take(broker, 1, queue)) == ["a"]


async def test_a_delayed_message_expires_all_the_same(broker: RabbitMQBroker, queue: str) -> None:
    now = time.time()
    await broker.publish(
        [
            message("expired", routing_key=queue, not_before=now + 2, expires_at=now + 1),
            message("kept", routing_key=queue, not_before=now + 2, expires_at=now + 60),
        ]
    )

    assert ids(await take(broker, 1, queue)) == ["kept"]
    assert time.time() >= now + 2
    assert await broker.receive([queue], limit=1, wait=0.2) == []


async def test_what_is_given_back_for_later_is_as_it_was(
    broker: RabbitMQBroker, queue: str
) -> None:
    await broker.publish([message("a", routing_key=queue, priority=2, reply_to="someone")])
    [first] = taken = await take(broker, 1, queue)
    began = time.time()

    for delay in (1.1, 1.2, 0.3):
        assert await broker.nack(taken, delay=delay) == []
        assert await broker.ack(taken) == taken
        taken = await take(broker, 1, queue)
        assert time.time() >= began + delay
        began = time.time()

    [last] = taken
    assert last.message.body == first.message.body
    assert (last.message.id, last.message.reply_to, last.message.priority) == ("a", "someone", 2)
    assert (first.redelivered, last.redelivered, last.attempt) == (False, True, 1)
    assert await broker.ack(taken) == []


async def test_what_waits_here_for_a_moment_is_not_acknowledged_with_what_came_later(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.publish([message(name, routing_key=queue) for name in ("a", "b", "c")])
    first, *others = await take(broker, 3, queue)
    await broker.nack([first], delay=0.9)

    assert await broker.ack(others) == []
    assert (await broker.stats([queue]))[queue].delayed == 1
    await broker.close()

    other = RabbitMQBroker(rabbitmq.url(), clock=SystemClock())
    await other.open()
    assert ids(await take(other, 1, queue)) == ["a"]
    await other.close()


async def test_kombu_finds_everything_as_it_would_have_made_it(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.declare([Queue(queue, Exchange(queue, "topic"), "key", queue_arguments=QUORUM)])
    await broker.publish([message("a", routing_key=queue, not_before=time.time() + 1.1)])

    with kombu.Connection(rabbitmq.url()) as connection:
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        bind_queue_to_native_delayed_delivery_exchange(
            connection,
            kombu.Queue(queue, kombu.Exchange(queue, "topic"), "key", queue_arguments=dict(QUORUM)),
        )

    assert ids(await take(broker, 1, queue)) == ["a"]
    assert await broker.receive([queue], limit=1, wait=0.2) == []


async def test_queues_of_the_other_type_are_used_as_they_are(queue: str) -> None:
    with rabbitmq_server() as server:
        with kombu.Connection(server.url()) as connection:
            declare_native_delayed_delivery_exchanges_and_queues(connection, "classic")
        broker = RabbitMQBroker(server.url(), clock=SystemClock())
        await broker.open()
        due = time.time() + 1.5

        await broker.publish([message("a", routing_key=queue, not_before=due)])

        assert ids(await take(broker, 1, queue)) == ["a"]
        assert time.time() >= due
        await broker.close()


async def test_what_celery_delays_comes_when_it_is_due(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    # Celery delays where quorum queues are bound to topic exchanges, and leaves it to the workers
    # to make the queues that delay.
    await broker.declare([Queue(queue, Exchange(queue, "topic"), queue, queue_arguments=QUORUM)])
    app = celery.Celery("peer", broker=rabbitmq.url(), set_as_current=False)
    app.conf.task_queues = [
        kombu.Queue(queue, kombu.Exchange(queue, "topic"), queue, queue_arguments=dict(QUORUM))
    ]
    app.conf.task_default_queue = queue
    began = time.time()

    await asyncio.to_thread(app.send_task, "tasks.add", (2, 2), countdown=2)

    [delivery] = await take(broker, 1, queue)
    # Celery cuts off the part of a second; the worker holds the rest by the task's ETA.
    assert time.time() >= began + 1
    assert (delivery.message.exchange, delivery.message.routing_key) == ("", queue)
    assert b"x-death" not in delivery.message.headers
    assert await broker.nack([delivery], delay=1.1) == []
    [again] = await take(broker, 1, queue)
    assert again.message.id == delivery.message.id
    app.close()


def test_a_queue_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="'mirrored'"):
        RabbitMQBroker(
            "amqp://localhost",
            clock=SystemClock(),
            transport_options={"native_delayed_delivery_queue_type": "mirrored"},
        )
