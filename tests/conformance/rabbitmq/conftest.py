"""A broker, and the name of a queue that is gone after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import amqp
import pytest

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.testing.servers import RabbitMQServer

_numbers = count(1)


@pytest.fixture
async def broker(
    rabbitmq: RabbitMQServer, system_clock: SystemClock
) -> AsyncIterator[RabbitMQBroker]:
    """A broker of the private RabbitMQ."""
    made = RabbitMQBroker(rabbitmq.url(), clock=system_clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def queue(rabbitmq: RabbitMQServer) -> Iterator[str]:
    """A queue's name; it, its exchange and what umbel keeps beside it go with the test."""
    name = f"queue-{next(_numbers)}"
    yield name
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.queue_delete(f"umbel.lost.{name}")
        # Others say that it keeps less.
        channel.queue_delete("umbel.dead")
        channel.exchange_delete(name)
