"""Clients that are cancelled, closed or killed: what they held comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.model import Message, ResultRecord
from umbel.testing.conformance.messages import ids, until


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


async def test_cancelling_a_receive_anywhere_loses_nothing(
    redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    broker = RedisBroker(redis_url, clock=system_clock)
    await broker.open()
    expected = [f"m{number}" for number in range(200)]
    for turns in range(40):
        await broker.publish(messages(*expected[turns * 5 : turns * 5 + 5]))
        receiving = asyncio.create_task(broker.receive(["mail"], limit=3, wait=1))
        for _ in range(turns % 13):
            await asyncio.sleep(0)
        if receiving.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                await broker.nack(await receiving)
    await broker.close()
    fresh = RedisBroker(redis_url, clock=system_clock)

    got = await fresh.receive(["mail"], limit=1000, wait=1)

    assert sorted(ids(got)) == sorted(expected)
    assert server.hlen("unacked") == 200
    assert server.zcard("unacked_index") == 200
    await fresh.close()


async def test_closing_ends_a_receive_that_waits(
    redis_url: str,
    system_clock: SystemClock,
    server: redis_py.Redis,
    sleeping_clients: Callable[..., set[str]],
) -> None:
    broker = RedisBroker(redis_url, clock=system_clock)
    receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=60))
    await until(lambda: sleeping_clients(server))

    await broker.close()

    async with asyncio.timeout(30):
        assert await receiving == []
    with pytest.raises(BrokerUnavailable, match="was closed"):
        await broker.publish(messages("a"))


HOLDER = """
import asyncio, sys
from umbel.clock import SystemClock
from umbel.drivers.redis.broker import RedisBroker

async def main():
    broker = RedisBroker(sys.argv[1], clock=SystemClock(), lease=0.5)
    got = await broker.receive(["mail"], limit=10, wait=10)
    print(len(got), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_messages_of_a_killed_process_come_back_after_their_lease(
    redis_url: str, system_clock: SystemClock
) -> None:
    broker = RedisBroker(redis_url, clock=system_clock, lease=0.5)
    await broker.publish(messages("a", "b", "c"))
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, redis_url, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert (await holder.stdout.readline()).strip() == b"3"
    started = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    await holder.wait()

    got = await broker.receive(["mail"], limit=10, wait=60)

    assert ids(got) == ["a", "b", "c"]
    assert [each.attempt for each in got] == [2, 2, 2]
    assert time.monotonic() - started < 15
    await broker.close()


async def test_a_watch_after_closing_and_opening_again(
    redis_url: str, system_clock: SystemClock
) -> None:
    backend = RedisBackend(redis_url, clock=system_clock)
    async with backend.watch(["a"]) as changes:
        await backend.close()
        with pytest.raises(BackendUnavailable, match="closed while it was watched"):
            await anext(changes)
    await backend.open()

    async with backend.watch(["a"]) as changes, asyncio.timeout(30):
        await backend.store([ResultRecord(id="a", state="SUCCESS", body=b'{"status": "SUCCESS"}')])
        assert [each.id for each in await anext(changes)] == ["a"]

    await backend.close()
