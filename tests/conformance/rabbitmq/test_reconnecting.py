"""A connection to RabbitMQ that is cut again while it is made: the driver comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.exceptions import BrokerUnavailable
from umbel.model import Queue
from umbel.testing.conformance.messages import message
from umbel.testing.proxy import Direction, Proxy
from umbel.testing.servers import RabbitMQServer

T = TypeVar("T")

POINTS = 150 if os.environ.get("UMBEL_LONG_TESTS") else 20
"""How many, at least, of the bytes that pass are the last one of a connection."""
PATIENCE = 60.0


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """What whoever uses a broker does: ask again."""
    while True:
        try:
            return await call()
        except BrokerUnavailable:
            await asyncio.sleep(0.01)


async def work(broker: RabbitMQBroker, other: RabbitMQBroker, queue: str, name: str) -> None:
    """Publish, and run what comes from here and from elsewhere, until all of it is settled."""
    own = message(f"{name}-own", routing_key=queue)
    await other.publish([message(name, routing_key=queue)])
    await insist(lambda: broker.publish([own]))
    wanted = {name, own.id}
    while wanted:
        for each in await insist(lambda: broker.receive([queue], limit=9, wait=0.5)):
            run = [each]
            if await insist(lambda: broker.start(run)):  # noqa: B023
                continue
            if await insist(lambda: broker.begin(run)):  # noqa: B023
                continue
            if not await insist(lambda: broker.ack(run)):  # noqa: B023
                wanted.discard(each.message.id)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_wherever_it_is_cut_as_it_reconnects_it_comes_back(
    rabbitmq: RabbitMQServer, direction: Direction
) -> None:
    queue = f"reconnecting-{direction}"
    with Proxy(rabbitmq.port) as proxy:
        broker, other = (
            RabbitMQBroker(
                f"amqp://guest:guest@127.0.0.1:{port}//", clock=SystemClock(), max_retries=None
            )
            for port in (proxy.port, rabbitmq.port)
        )
        await other.declare([Queue(queue)])
        await broker.declare([Queue(queue)])
        await work(broker, other, queue, "first")
        proxy.cut()
        before = proxy.passed[direction]
        await work(broker, other, queue, "second")
        size = proxy.passed[direction] - before

        for count in range(1, size + 1, max(1, size // POINTS)):
            proxy.cut_after(count, direction)
            proxy.cut()
            async with asyncio.timeout(PATIENCE):
                await work(broker, other, queue, f"cut-{count}")
            proxy.heal()

        assert proxy.cuts >= POINTS // 2
        await broker.close()
        await other.purge([queue])
        await other.close()
