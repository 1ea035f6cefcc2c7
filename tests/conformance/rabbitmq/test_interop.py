"""Real Celery and kombu on one side of a RabbitMQ, the driver on the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import kombu
import msgspec
import pytest

from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.model import Exchange, Queue
from umbel.testing.conformance.messages import message, take
from umbel.testing.servers import RabbitMQServer
from umbel.wire import tasks as wire
from umbel.wire.call import Call


@pytest.fixture
def connection(rabbitmq: RabbitMQServer) -> Iterator[kombu.Connection]:
    with kombu.Connection(rabbitmq.url()) as connection:
        yield connection


HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": "tasks.überweisen",
    "id": "an-id",
    "none": None,
    "yes": True,
    "small": -7,
    "large": 2**40,
    "float": 1.5,
    "list": [None, 300, ["x", {"y": False}]],
    "table": {"deep": {"er": "🚀"}},
    "empty": "",
}


async def test_kombu_reads_what_we_write(
    connection: kombu.Connection, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.publish(
        [
            message(
                "an-id",
                routing_key=queue,
                headers=msgspec.json.encode(HEADERS),
                reply_to="someone",
                priority=7,
            )
        ]
    )

    [got] = receive(connection, queue, 1)

    assert got.headers == HEADERS
    assert (got.content_type, got.content_encoding) == ("application/json", "utf-8")
    assert got.properties["correlation_id"] == "an-id"
    assert got.properties["reply_to"] == "someone"
    assert (got.properties["priority"], got.properties["delivery_mode"]) == (7, 2)


async def test_we_read_what_kombu_writes(
    connection: kombu.Connection, broker: RabbitMQBroker, queue: str
) -> None:
    connection.Producer().publish(
        [1, 2],
        routing_key=queue,
        headers=HEADERS,
        correlation_id="an-id",
        reply_to="someone",
        priority=7,
        delivery_mode=1,
        expiration=60,
        declare=[kombu.Queue(queue, kombu.Exchange(queue), queue)],
    )

    [delivery] = await take(broker, 1, queue)

    got = delivery.message
    assert json.loads(got.headers) == HEADERS
    assert (got.id, got.correlation_id, got.reply_to) == ("an-id", "an-id", "someone")
    assert (got.body, got.content_type, got.priority) == (b"[1, 2]", "application/json", 7)
    assert got.properties == {"delivery_mode": 1, "expiration": "60000"}


async def test_celery_and_we_declare_a_queue_alike(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    app = celery.Celery("peer", broker=rabbitmq.url(), set_as_current=False)
    app.send_task("tasks.add", (2, 2), queue=queue)
    [delivery] = await take(broker, 1, queue)
    await broker.declare([Queue(queue, Exchange(queue), queue)])

    request = wire.decode(delivery, key=1, accept=frozenset({"application/json"}), limit=1_000_000)

    assert (request.task, request.retries) == ("tasks.add", 0)
    app.send_task("tasks.add", (2, 2), queue=queue)
    assert len(await take(broker, 1, queue)) == 1
    app.close()


async def test_a_task_message_of_ours_reaches_celery_with_all_headers(
    connection: kombu.Connection, broker: RabbitMQBroker, queue: str
) -> None:
    call = Call(
        id="an-id", task="tasks.add", args=(2, 2), kwargs={"ü": 1}, routing_key=queue, origin="us"
    )
    encoded = wire.encode(call)
    await broker.publish([encoded])

    [got] = receive(connection, queue, 1)

    assert got.headers == json.loads(encoded.headers)
    assert got.headers["argsrepr"] == "(2, 2)"
    assert got.payload[0] == [2, 2]


async def test_the_highest_priority_comes_first_on_either_side(
    connection: kombu.Connection, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.declare([Queue(queue, max_priority=10)])
    for priority in (3, 9, 0):
        await broker.publish([message(str(priority), routing_key=queue, priority=priority)])
        connection.Producer().publish([], routing_key=queue, priority=priority)

    first, second = [each.properties["priority"] for each in receive(connection, queue, 2)]
    ours = [each.message.priority for each in await take(broker, 4, queue)]

    assert [first, second, *ours] == [9, 9, 3, 3, 0, 0]


async def test_a_header_that_cannot_be_read_spoils_only_its_own_message(
    connection: kombu.Connection, broker: RabbitMQBroker, queue: str
) -> None:
    producer = connection.Producer()
    producer.publish(
        b"raw",
        routing_key=queue,
        headers={"task": b"\xff\xfe"},
        content_type="application/data",
        content_encoding="binary",
        declare=[kombu.Queue(queue, kombu.Exchange(queue), queue)],
    )
    producer.publish([], routing_key=queue, headers={"id": "fine"})

    spoilt, fine = await take(broker, 2, queue)

    assert fine.message.id == "fine"
    assert spoilt.defect is None or "UTF-8" in spoilt.defect
    assert spoilt.message.body == b"raw"
    assert await broker.ack([spoilt, fine]) == []


def receive(connection: kombu.Connection, queue: str, number: int) -> list[kombu.Message]:
    """The next messages, each of which must be there already."""
    bound = kombu.Queue(queue, no_declare=True)(connection.channel())
    found = [bound.get(accept=["json"], no_ack=True) for _ in range(number)]
    assert None not in found
    return found
