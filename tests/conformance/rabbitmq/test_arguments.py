"""What queues and exchanges say reaches RabbitMQ as kombu's says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import amqp.exceptions
import pytest
from kombu import Connection as PeerConnection
from kombu import Queue as PeerQueue

from umbel import Exchange, Queue, Umbel
from umbel.exceptions import OperationalError, UmbelError
from umbel.testing.servers import RabbitMQServer


@pytest.fixture
def app(rabbitmq: RabbitMQServer) -> Iterator[Umbel]:
    with Umbel("arguments", broker=rabbitmq.url(), set_as_current=False) as app:
        yield app


@pytest.fixture
def channel(rabbitmq: RabbitMQServer) -> Iterator[Any]:
    with PeerConnection(rabbitmq.url()) as connection:
        yield connection.default_channel


def test_queues_of_ours_are_those_that_kombu_makes_of_the_same_arguments(
    app: Umbel, channel: Any
) -> None:
    name = f"limits-{uuid4()}"
    said: dict[str, Any] = {
        "expires": 60.0, "message_ttl": 30.0, "max_length": 5, "max_length_bytes": 1000,
        "max_priority": 3, "queue_arguments": {"x-overflow": "reject-publish"},
    }  # fmt: skip

    Queue(name, channel=app.connection(), **said).declare()

    # RabbitMQ refuses a queue that exists with other arguments.
    PeerQueue(name, channel=channel, **said).declare()
    with pytest.raises(amqp.exceptions.PreconditionFailed):
        PeerQueue(name, channel=channel, **said | {"max_length_bytes": 1001}).declare()


def test_a_worker_consumes_with_the_arguments_of_the_queue(app: Umbel, channel: Any) -> None:
    name = f"wanted-{uuid4()}"
    mine = Queue(name, auto_delete=True, consumer_arguments={"x-priority": 9})
    bodies: list[str] = []
    PeerQueue(name, auto_delete=True, channel=channel).declare()
    channel.basic_qos(0, 1, False)
    channel.basic_consume(name, callback=lambda message: bodies.append(message.body))

    connection = app.connection()
    with connection.Consumer([mine], callbacks=[lambda body, message: message.ack()]):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
        # Consumers of the highest priority are served first: the other one gets nothing.
        for number in range(5):
            connection.Producer().publish(str(number), routing_key=name)
            connection.drain_events(timeout=60)

    assert bodies == []


def test_what_is_not_to_be_declared_must_exist(app: Umbel, channel: Any) -> None:
    queue = Queue(f"there-{uuid4()}", no_declare=True)

    with pytest.raises(OperationalError, match="no_declare"):
        app.connection().default_channel.declare(queue)

    PeerQueue(queue.name, channel=channel, auto_delete=True, durable=False).declare()
    app.connection().default_channel.declare(queue)


def test_an_exchange_that_is_passive_is_not_made(app: Umbel) -> None:
    exchange = Exchange(f"absent-{uuid4()}", "topic", passive=True)

    with pytest.raises(UmbelError, match="NOT_FOUND"):
        exchange(app.connection()).declare()
