"""What goes wrong between us and Redis: nothing is lost, and the error says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hiredis
import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BatchError, BrokerUnavailable, ImproperlyConfigured
from umbel.model import Message, ResultRecord
from umbel.testing.servers import RedisServer, redis_server


class Wire:
    """A proxy in front of Redis whose wire can be cut, or lose what comes back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ends: set[asyncio.StreamWriter] = set()
        self.loses_replies = False

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await until(lambda: not self._ends)

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._ends |= {writer, back}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, back, is_reply=False))
            group.create_task(self._pump(there, writer, is_reply=True))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not (is_reply and self.loses_replies):
                    sink.write(data)
        with contextlib.suppress(ConnectionError):
            sink.transport.abort()
            await sink.wait_closed()
        self._ends.discard(sink)


@pytest.fixture
async def wire(redis: RedisServer) -> AsyncIterator[Wire]:
    wire = Wire(redis.port)
    await wire.open()
    yield wire
    await wire.close()


@pytest.fixture
async def broker(
    wire: Wire, redis_url: str, system_clock: SystemClock
) -> AsyncIterator[RedisBroker]:
    """A broker whose wire can be cut."""
    url = f"redis://127.0.0.1:{wire.port}/{redis_url.rpartition('/')[2]}"
    broker = RedisBroker(url, clock=system_clock)
    await broker.open()
    yield broker
    wire.loses_replies = False
    await broker.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis_py.Redis]:
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


def names(deliveries: list[Any]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


async def until(claim: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)


async def test_what_a_lost_answer_had_leased_comes_back_at_once(
    broker: RedisBroker, wire: Wire, server: redis_py.Redis
) -> None:
    await broker.receive(["mail"], limit=10, wait=0)
    await broker.publish(messages("a", "b"))
    wire.loses_replies = True

    receiving = asyncio.create_task(broker.receive(["mail"], limit=10, wait=5))
    await until(lambda: server.hlen("unacked") == 2)
    wire.loses_replies = False
    wire.cut()
    got = await receiving

    assert names(got) == ["a", "b"]
    # Nobody had seen them.
    assert [(each.attempt, each.redelivered) for each in got] == [(1, False)] * 2
    assert server.hlen("unacked") == 2


async def test_a_publish_whose_answer_is_lost_says_that_nothing_is_known(
    broker: RedisBroker, wire: Wire, server: redis_py.Redis
) -> None:
    wire.loses_replies = True

    publishing = asyncio.create_task(broker.publish(messages("a")))
    await until(lambda: server.llen("mail") == 1)
    wire.cut()

    with pytest.raises(BrokerUnavailable, match="lost the connection to Redis at redis://127"):
        await publishing


async def test_an_ack_whose_answer_is_lost_may_be_repeated(
    broker: RedisBroker, wire: Wire, server: redis_py.Redis
) -> None:
    await broker.publish(messages("a"))
    got = await broker.receive(["mail"], limit=10, wait=5)
    wire.loses_replies = True

    acking = asyncio.create_task(broker.ack(got))
    await until(lambda: server.hlen("unacked") == 0)
    wire.cut()
    with pytest.raises(BrokerUnavailable):
        await acking
    wire.loses_replies = False

    assert await broker.ack(got) == got
    assert await broker.receive(["mail"], limit=10, wait=0) == []


async def test_a_cut_wire_does_not_disturb_a_receive_that_waits(
    broker: RedisBroker, wire: Wire, server: redis_py.Redis
) -> None:
    receiving = asyncio.create_task(broker.receive(["mail"], limit=10, wait=10))
    await until(lambda: sleeping_clients(server))
    before = sleeping_clients(server)
    wire.cut()
    await until(lambda: sleeping_clients(server) - before)
    other = RedisBroker(redis_url_of(server), clock=SystemClock())
    await other.publish(messages("a"))

    assert names(await receiving) == ["a"]
    await other.close()


def sleeping_clients(server: redis_py.Redis) -> set[str]:
    """Clients that looked for messages last, found none, and now wait to be told."""
    return {client["id"] for client in server.client_list() if client["cmd"] == "exists"}


def redis_url_of(server: redis_py.Redis) -> str:
    where = server.connection_pool.connection_kwargs
    return f"redis://{where['host']}:{where['port']}/{where['db']}"


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

    assert sorted(names(got)) == sorted(expected)
    assert server.hlen("unacked") == 200
    assert server.zcard("unacked_index") == 200
    await fresh.close()


async def test_closing_ends_a_receive_that_waits(
    redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    broker = RedisBroker(redis_url, clock=system_clock)
    receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=60))
    await until(lambda: sleeping_clients(server))

    await broker.close()

    async with asyncio.timeout(1):
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

    got = await broker.receive(["mail"], limit=10, wait=5)

    assert names(got) == ["a", "b", "c"]
    assert [each.attempt for each in got] == [2, 2, 2]
    assert time.monotonic() - started < 1.0
    await broker.close()


async def test_scripts_survive_script_flush(broker: RedisBroker, server: redis_py.Redis) -> None:
    server.script_flush()
    await broker.publish(messages("a", not_before=time.time() + 0.05))
    server.script_flush()
    got = await broker.receive(["mail"], limit=1, wait=5)
    server.script_flush()

    assert names(got) == ["a"]
    assert await broker.ack(got) == []


async def test_a_key_of_the_wrong_type_costs_only_its_own_queue(
    broker: RedisBroker, server: redis_py.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.set("spoiled", "no list")
    fine = messages("a")
    refused = [Message(id="b", body=b"", routing_key="spoiled")]

    with pytest.raises(BatchError) as raised:
        await broker.publish([*fine, *refused])
    got = await broker.receive(["spoiled", "mail"], limit=10, wait=1)

    assert list(raised.value.errors) == [1]
    assert names(got) == ["a"]
    assert "A queue cannot be read" in caplog.text


async def test_nothing_is_taken_while_unacked_has_the_wrong_type(
    broker: RedisBroker, server: redis_py.Redis
) -> None:
    await broker.publish(messages("a"))
    server.set("unacked", "no hash")

    with pytest.raises(BrokerUnavailable, match="WRONGTYPE"):
        await broker.receive(["mail"], limit=10, wait=0)

    assert server.llen("mail") == 1


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\x00", b"[]", b"null", b'{"body":', b"{}", b'{"umbel":"1||",}']
)
async def test_garbage_is_handed_out_as_such_and_harms_nobody(
    garbage: bytes, broker: RedisBroker, server: redis_py.Redis
) -> None:
    server.lpush("mail", garbage)
    await broker.publish(messages("a"))

    got = await broker.receive(["mail"], limit=10, wait=1)

    assert [bool(each.defect) for each in got] == [True, False]
    assert got[0].message.body == garbage
    assert await broker.extend(got, lease=10) == []
    # Celery's workers read all of this, and must be able to.
    assert all(json.loads(record) for record in server.hvals("unacked"))
    assert server.hlen("unacked") == 1
    assert await broker.nack(got[:1], requeue=False) == []
    assert server.lrange("umbel:dead", 0, -1) == [garbage]
    assert await broker.ack(got) == got[:1]


async def test_an_unroutable_message_is_refused_by_index(broker: RedisBroker) -> None:
    lost = Message(id="b", body=b"", exchange="nowhere", routing_key="x")

    with pytest.raises(BatchError, match="no queue bound") as raised:
        await broker.publish([*messages("a"), lost])

    assert list(raised.value.errors) == [1]
    assert names(await broker.receive(["mail"], limit=10, wait=0)) == ["a"]


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

    assert names(got) == ["a"]


async def test_a_hanging_redis_is_noticed(system_clock: SystemClock) -> None:
    with redis_server() as server:
        broker = RedisBroker(
            server.url(),
            clock=system_clock,
            max_retries=0,
            transport_options={"socket_timeout": 0.3, "socket_connect_timeout": 0.3},
        )
        await broker.open()
        server.pause()
        with pytest.raises(BrokerUnavailable, match="no reply for 0\\.3 s"):
            await broker.publish(messages("a"))
        with pytest.raises(BrokerUnavailable, match="no answer in time"):
            await broker.publish(messages("a"))
        server.resume()
        await broker.publish(messages("a"))
        await broker.close()


async def test_a_restarted_redis_is_found_again(system_clock: SystemClock) -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url(), clock=system_clock, max_retries=50)
        receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=20))
        with redis_py.Redis(port=server.port) as client:
            await until(lambda: sleeping_clients(client))
        server.kill()
        await asyncio.to_thread(server.start)
        await broker.publish(messages("a"))

        assert names(await receiving) == ["a"]
        await broker.close()


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("redis://:secret@127.0.0.1:1/0", "connection refused"),
        ("redis://:secret@no-such-host.invalid/0", "host name is not known"),
        ("unix:///nowhere/redis.sock", "no such socket"),
    ],
)
async def test_an_unreachable_redis_is_named_without_its_password(
    url: str, cause: str, system_clock: SystemClock
) -> None:
    broker = RedisBroker(url, clock=system_clock, max_retries=0)
    backend = RedisBackend(url, clock=system_clock, max_retries=0)

    with pytest.raises(BrokerUnavailable, match=cause) as first:
        await broker.open()
    with pytest.raises(BackendUnavailable, match=cause) as second:
        await backend.load(["x"])

    assert "secret" not in str(first.value) + str(second.value)
    await broker.close()
    await backend.close()


async def test_passwords_and_sockets_open_the_door(system_clock: SystemClock) -> None:
    with redis_server("--requirepass", "s3cret") as server:
        wrong = RedisBroker(server.url(login=":wrong"), clock=system_clock)
        with pytest.raises(BrokerUnavailable, match="wrong user name or password"):
            await wrong.open()
        missing = RedisBroker(server.url(), clock=system_clock)
        with pytest.raises(BrokerUnavailable, match="asks for a password"):
            await missing.open()
        for url in (
            server.url(3, login=":s3cret"),
            server.url(3, login="default:s3cret"),
            f"unix://:s3cret@{server.socket_path}?db=3",
            f"redis+socket://:s3cret@{server.socket_path}?virtual_host=3",
        ):
            right = RedisBroker(url, clock=system_clock)
            await right.publish(messages("a"))
            assert names(await right.receive(["mail"], limit=1, wait=1)) == ["a"]
            await right.close()
            await right.open()
            await right.purge(["mail"])
            await right.close()


@pytest.mark.parametrize("url", ["http://x", "redis://x:port", "redis://x/mail"])
def test_a_url_that_is_none_of_redis_is_refused(url: str, system_clock: SystemClock) -> None:
    with pytest.raises(ImproperlyConfigured):
        RedisBroker(url, clock=system_clock)


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
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader(notEnoughData=Ellipsis)
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not Ellipsis:
                writer.write(b"+OK\r\n" if command[0] != b"LPUSH" else f"-{reply}\r\n".encode())
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        broker = RedisBroker(f"redis://127.0.0.1:{port}", clock=system_clock)
        with pytest.raises(BrokerUnavailable, match=re.escape(reply.partition(" ")[2])):
            await broker.publish(messages("a"))
        await broker.close()


async def test_without_tracking_queues_are_looked_at_again_and_again(
    system_clock: SystemClock,
) -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url(), clock=system_clock)
        with redis_py.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "default", "-client|tracking")
            receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=10))
            await until(lambda: sleeping_clients(client))
        await broker.publish(messages("a"))
        started = time.monotonic()

        assert names(await receiving) == ["a"]
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


async def test_a_watch_survives_a_cut_wire(
    wire: Wire, redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    direct = RedisBackend(redis_url, clock=system_clock)
    cuttable = RedisBackend(
        f"redis://127.0.0.1:{wire.port}/{redis_url.rpartition('/')[2]}", clock=system_clock
    )
    async with cuttable.watch(["a", "b"]) as changes:
        wire.cut()
        await direct.store([ResultRecord(id="a", state="SUCCESS", body=b'{"status": "SUCCESS"}')])
        async with asyncio.timeout(5):
            (first,) = await anext(changes)
        await direct.store([ResultRecord(id="b", state="FAILURE", body=b'{"status": "FAILURE"}')])
        async with asyncio.timeout(5):
            (second,) = await anext(changes)

    assert (first.id, second.id, second.state) == ("a", "b", "FAILURE")
    await direct.close()
    await cuttable.close()


async def test_a_watch_after_closing_and_opening_again(
    redis_url: str, system_clock: SystemClock
) -> None:
    backend = RedisBackend(redis_url, clock=system_clock)
    async with backend.watch(["a"]) as changes:
        await backend.close()
        with pytest.raises(BackendUnavailable, match="closed while it was watched"):
            await anext(changes)
    await backend.open()

    async with backend.watch(["a"]) as changes, asyncio.timeout(5):
        await backend.store([ResultRecord(id="a", state="SUCCESS", body=b'{"status": "SUCCESS"}')])
        assert [each.id for each in await anext(changes)] == ["a"]

    await backend.close()


async def test_a_watch_fails_when_redis_stays_away(system_clock: SystemClock) -> None:
    with redis_server() as server:
        backend = RedisBackend(server.url(), clock=system_clock, max_retries=1)
        async with backend.watch(["a"]) as changes:
            server.kill()
            with pytest.raises(BackendUnavailable, match="connection refused"):
                async with asyncio.timeout(5):
                    await anext(changes)
        await backend.close()
