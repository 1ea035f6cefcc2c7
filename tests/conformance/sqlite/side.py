"""One of several processes that share a database: ``python side.py <role> <path> …``.

``produce <name> <count>``   publishes in batches, prints each batch's ids once it is confirmed
``consume <count>``          takes and acknowledges until all have been taken, prints ids
``work``                     takes, settles with a result and a follow-up, until it is killed
``wait <id>``                prints "waiting", then the state of the result when it comes
"""

from __future__ import annotations

import asyncio
import sys

from umbel.clock import SystemClock
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.model import Ack, Message, ResultRecord, Settlement


def say(*words: str) -> None:
    print(*words, flush=True)


async def produce(path: str, name: str, count: str) -> None:
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    for start in range(0, int(count), 10):
        ids = [f"{name}-{number}" for number in range(start, min(start + 10, int(count)))]
        await broker.publish([Message(id=id_, body=b"x" * 500, routing_key="q") for id_ in ids])
        say(*ids)
    await broker.close()


async def consume(path: str, count: str) -> None:
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    empty = 0
    while empty < 3:
        deliveries = await broker.receive(["q"], limit=23, wait=0.5)
        empty = 0 if deliveries else empty + 1
        assert await broker.ack(deliveries) == []
        if deliveries:
            say(*(delivery.message.id for delivery in deliveries))
    await broker.close()


async def work(path: str) -> None:
    broker = SQLiteBroker(path, clock=SystemClock(), lease=0.3)
    backend = SQLiteBackend(path, clock=SystemClock())
    await broker.open()
    await backend.open()
    say("working")
    while True:
        deliveries = await broker.receive(["q"], limit=7, wait=10)
        await broker.settle(
            [
                Settlement(
                    delivery=delivery,
                    verdict=Ack(),
                    record=ResultRecord(id=delivery.message.id, state="SUCCESS", body=b"{}"),
                    publish=(Message(id=delivery.message.id, body=b"", routing_key="next"),),
                )
                for delivery in deliveries
            ],
            compose=lambda _, __: [],
        )


async def wait(path: str, id_: str) -> None:
    backend = SQLiteBackend(path, clock=SystemClock())
    await backend.open()
    async with backend.watch([id_]) as changes:
        say("waiting")
        [record] = await anext(changes)
    say(record.state)
    await backend.close()


if __name__ == "__main__":
    roles = {"produce": produce, "consume": consume, "work": work, "wait": wait}
    asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
