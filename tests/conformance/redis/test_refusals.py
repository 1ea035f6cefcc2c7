"""Servers that refuse: tried again, never taken for done."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.model import Exchange, Message, Queue, ResultRecord
from umbel.testing.conformance.messages import ids, until
from umbel.testing.servers import RedisServer, redis_server


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


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
            receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=60))
            await until(lambda: sleeping_clients(client))
        await broker.publish(messages("a"))
        started = time.monotonic()

        assert ids(await receiving) == ["a"]
        assert time.monotonic() - started < 15
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


async def test_what_memory_is_missing_for_may_be_sent_again(
    broker: RedisBroker, server: redis_py.Redis
) -> None:
    server.lpush("mail", "x")
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match=r"out of memory \(maxmemory\)"):
            await broker.publish(messages("a"))
        with pytest.raises(BrokerUnavailable, match="out of memory"):
            await broker.publish(messages("b", not_before=time.time() + 60))
    finally:
        server.config_set("maxmemory", 0)

    await broker.publish(messages("a"))
    assert server.llen("mail") == 2


async def test_a_server_that_cannot_save_is_tried_again(system_clock: SystemClock) -> None:
    with redis_server("--save", "3600 1", "--dbfilename", "taken") as saving:
        broker = RedisBroker(saving.url(), clock=system_clock)
        backend = RedisBackend(saving.url(), clock=system_clock)
        record = ResultRecord(id="r", state="FAILURE", body=b'{"status": "FAILURE"}')
        with redis_py.Redis(port=saving.port) as client:
            client.set("key", "value")
            # A file name that is a folder: what is written beside it cannot take its place.
            (Path(client.config_get("dir")["dir"]) / "taken").mkdir()
            with contextlib.suppress(redis_py.ResponseError):
                client.bgsave()
            await until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

            with pytest.raises(BrokerUnavailable, match="cannot save to disk: MISCONF"):
                await broker.publish(messages("a"))
            with pytest.raises(BackendUnavailable, match="cannot save to disk: MISCONF"):
                await backend.store([record])
            client.config_set("stop-writes-on-bgsave-error", "no")

        await broker.publish(messages("a"))
        await backend.store([record])
        assert ids(await broker.receive(["mail"], limit=1, wait=5)) == ["a"]
        await broker.close()
        await backend.close()
        # It does not end in order without having saved.
        saving.kill()


SLOW = ("--key-load-delay", "400")
"""Loads 2500 keys a second at most, and answers after each thousand."""


async def test_a_server_that_loads_its_data_is_waited_for(system_clock: SystemClock) -> None:
    with redis_server("--appendonly", "yes", *SLOW) as server:
        broker = RedisBroker(server.url(), clock=system_clock, max_retries=0)
        await broker.publish(messages(*(f"m{number}" for number in range(3))))
        with redis_py.Redis(port=server.port) as client, client.pipeline() as filling:
            for number in range(5000):
                filling.set(f"filler{number}", "x")
            filling.execute()
        server.kill()
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        said: list[str] = []
        async with asyncio.timeout(30):
            while True:
                try:
                    await broker.publish(messages("late"))
                except BrokerUnavailable as error:
                    said.append(str(error))
                    await asyncio.sleep(0.01)
                else:
                    break
        await starting

        got = await broker.receive(["mail"], limit=10, wait=5)
        assert ids(got) == ["m0", "m1", "m2", "late"]
        assert any("still loading its data" in each for each in said), sorted({*said})
        await broker.close()


async def test_a_flush_is_noticed_said_and_survived(
    redis_url: str,
    system_clock: SystemClock,
    server: redis_py.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A short lease has the books looked after often.
    broker = RedisBroker(redis_url, clock=system_clock, lease=0.4)
    logs = Exchange("logs", "topic")
    await broker.declare([Queue("mail", logs, "*.error")])
    await broker.publish(messages("gone", "held"))
    held = await broker.receive(["mail"], limit=1, wait=5)
    server.flushdb()

    assert await broker.ack(held) == held
    async with asyncio.timeout(30):
        while "has lost its data" not in caplog.text:
            assert await broker.receive(["mail"], limit=10, wait=0.1) == []
    other = RedisBroker(redis_url, clock=system_clock)
    await other.publish([Message(id="new", body=b"", exchange="logs", routing_key="web.error")])

    assert ids(await broker.receive(["mail"], limit=10, wait=5)) == ["new"]
    await broker.close()
    await other.close()
