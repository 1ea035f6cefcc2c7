"""The orders in which queues and priorities are served, as kombu's transport options say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kombu
import pytest

from umbel.clock import SystemClock
from umbel.drivers.redis.broker import RedisBroker
from umbel.model import Message


async def served(broker: RedisBroker, queues: Sequence[str], *, limit: int = 1) -> list[str]:
    """The queues of all that is there, in the order in which it comes."""
    came: list[str] = []
    while got := await broker.receive(queues, limit=limit, wait=0):
        came += [each.queue for each in got]
        await broker.ack(got)
    return came


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("priority", ["b", "b", "b", "c", "a", "a"]),
        ("sorted", ["a", "a", "b", "b", "b", "c"]),
        ("round_robin", ["b", "c", "a", "b", "a", "b"]),
    ],
)
async def test_queues_are_served_in_the_order_asked_for(
    strategy: str, expected: list[str], redis_url: str
) -> None:
    options = {"queue_order_strategy": strategy}
    broker = RedisBroker(redis_url, clock=SystemClock(), transport_options=options)
    for queue in ("a", "b", "c", "b", "a", "b"):
        await broker.publish([Message(id=queue, body=b"", routing_key=queue)])

    assert await served(broker, ["b", "c", "a"]) == expected
    await broker.close()


async def test_a_busy_queue_does_not_starve_another_one(redis_url: str) -> None:
    options = {"queue_order_strategy": "round_robin"}
    broker = RedisBroker(redis_url, clock=SystemClock(), transport_options=options)
    for queue, count in (("busy", 100), ("calm", 10)):
        message = Message(id=queue, body=b"", routing_key=queue)
        await broker.publish([message] * count)

    came = await served(broker, ["busy", "calm"], limit=20)

    assert came.index("calm") == 20
    assert came.count("calm") == 10
    await broker.close()


@pytest.mark.parametrize(
    "options",
    [{}, {"priority_steps": list(range(10))}, {"sep": ":", "priority_steps": [0, 5]}],
    ids=str,
)
async def test_priorities_are_in_the_same_lists_as_kombus(
    options: dict[str, Any], redis_url: str
) -> None:
    broker = RedisBroker(redis_url, clock=SystemClock(), transport_options=options)
    priorities = (9, 3, 5, 0, 1, 4)
    for priority in priorities:
        message = Message(id=str(priority), body=b"", routing_key="ours", priority=priority)
        await broker.publish([message])
    steps = options.get("priority_steps", [0, 3, 6, 9])
    expected = sorted(priorities, key=lambda p: max(step for step in steps if step <= p))

    with kombu.Connection(redis_url, transport_options=options) as theirs:
        for priority in priorities:
            theirs.default_channel.basic_publish(
                theirs.default_channel.prepare_message(
                    "", priority=priority, headers={"id": str(priority)}
                ),
                exchange="",
                routing_key="theirs",
            )
        heard: list[int] = []
        consumer = theirs.Consumer(
            [kombu.Queue("ours")],
            callbacks=[lambda _, got: (heard.append(got.properties["priority"]), got.ack())],
        )
        consumer.qos(prefetch_count=1)
        with consumer:
            while len(heard) < len(priorities):
                theirs.drain_events(timeout=60)

    got = await broker.receive(["theirs"], limit=10, wait=0)
    assert heard == expected
    assert [each.message.priority for each in got] == expected
    await broker.close()
