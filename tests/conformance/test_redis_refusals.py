"""Servers that refuse: tried again, never taken for done."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import hiredis
import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BrokerUnavailable
from umbel.model import Message
from umbel.testing.conformance.messages import ids, until
from umbel.testing.servers import RedisServer, redis_server


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


@pytest.fixture
async def broker(redis_url: str, system_clock: SystemClock) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, clock=system_clock)
    await broker.open()
    yield broker
    await broker.close()


async def test_out_of_memory_is_said(redis_url: str, system_clock: SystemClock) -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as full:
        broker = RedisBroker(full.url(), clock=system_clock)
        with pytest.raises(BrokerUnavailable, match="out of memory"):
            await broker.publish(messages("a"))
        await broker.close()


async def test_workers_go_on_taking_while_redis_is_out_of_memory(
    broker: RedisBroker, server: redis_py.Redis
) -> None:
    await broker.publish(messages("a"))
    server.config_set("maxmemory", 1)
    try:
        got = await broker.receive(["mail"], limit=10, wait=1)
        assert await broker.ack(got) == []
    finally:
        server.config_set("maxmemory", 0)

    assert ids(got) == ["a"]


@pytest.mark.parametrize(
    "reply",
    [
        "OOM command not allowed",
        "READONLY You can't write",
        "LOADING Redis is",
        "MISCONF x",
        "ERR odd",
    ],
)
async def test_every_refusal_becomes_the_drivers_error(
    reply: str, system_clock: SystemClock
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        parser = hiredis.Reader(notEnoughData=Ellipsis)
        # Some refusals end the connection: on another one it may be different.
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                parser.feed(data)
                while (command := parser.gets()) is not Ellipsis:
                    is_refused = command[0] == b"LPUSH"
                    writer.write(f"-{reply}\r\n".encode() if is_refused else b"+OK\r\n")

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        broker = RedisBroker(f"redis://127.0.0.1:{port}", clock=system_clock)
        with pytest.raises(BrokerUnavailable, match=re.escape(reply.partition(" ")[2])):
            await broker.publish(messages("a"))
        await broker.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_without_tracking_queues_are_looked_at_again_and_again(
    system_clock: SystemClock, sleeping_clients: Callable[..., set[str]]
) -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url(), clock=system_clock)
        with redis_py.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "default", "-client|tracking")
            receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=10))
            await until(lambda: sleeping_clients(client))
        await broker.publish(messages("a"))
        started = time.monotonic()

        assert ids(await receiving) == ["a"]
        assert time.monotonic() - started < 0.5
        await broker.close()


async def test_a_database_that_does_not_exist_is_not_asked_for_twice(
    redis: RedisServer, system_clock: SystemClock
) -> None:
    broker = RedisBroker(redis.url(99), clock=system_clock)

    with pytest.raises(BrokerUnavailable, match=r"DB index is out of range$"):
        await broker.open()


async def test_something_that_is_no_redis_is_recognised(system_clock: SystemClock) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        broker = RedisBroker(f"redis://127.0.0.1:{port}", clock=system_clock, max_retries=1)
        with pytest.raises(BrokerUnavailable, match="not Redis' protocol"):
            await broker.open()
        await broker.close()
