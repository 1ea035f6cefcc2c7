"""Servers that look after each other: failovers are followed, moves too, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from umbel.clock import SystemClock
from umbel.drivers.redis.address import slot_of
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.model import Exchange, Message, Queue, ResultRecord
from umbel.testing.conformance.messages import ids
from umbel.testing.fleets import RedisCluster, RedisSentinels, ask, redis_cluster, redis_sentinels
from umbel.testing.servers import redis_server

SECRET = "s3cret"
PATIENT = 200
"""Attempts to connect: more than a failover lasts."""


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


def result(name: str) -> ResultRecord:
    return ResultRecord(id=name, state="SUCCESS", body=b'{"status": "SUCCESS"}')


@pytest.fixture
def sentinels() -> Iterator[RedisSentinels]:
    with redis_sentinels(SECRET) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster() as nodes:
        yield nodes


async def publish_at_last(broker: RedisBroker, *names: str) -> None:
    """As a producer's policy does: again, until it is confirmed."""
    async with asyncio.timeout(40):
        while True:
            try:
                await broker.publish(messages(*names))
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_failover_is_followed_by_broker_backend_and_whoever_waits(
    sentinels: RedisSentinels, system_clock: SystemClock
) -> None:
    url = sentinels.url(3, login=f":{SECRET}")
    options = {"master_name": sentinels.master_name, "sentinel_kwargs": {"socket_timeout": 1}}
    clients: dict[str, Any] = {
        "clock": system_clock,
        "transport_options": options,
        "max_retries": PATIENT,
    }
    broker, backend = RedisBroker(url, **clients), RedisBackend(url, **clients)
    await broker.publish(messages("held"))
    (held,) = await broker.receive(["mail"], limit=1, wait=5)
    await backend.store([result("before")])
    await asyncio.to_thread(wait_for_replica, sentinels, b"celery-task-meta-before")
    async with backend.watch(["after"]) as changes:
        receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=60))
        sentinels.master.kill()
        await publish_at_last(broker, "after")
        await backend.store([result("after")])

        async with asyncio.timeout(30):
            assert ids(await receiving) == ["after"]
            heard = await anext(changes)

    assert [record.id for record in heard] == ["after"]
    assert sorted(await backend.load(["before", "after"])) == ["after", "before"]
    # Its lease has moved with the data.
    assert await broker.ack([held]) == []
    assert sentinels.master_port() == sentinels.replica.port
    await broker.close()
    await backend.close()


def wait_for_replica(sentinels: RedisSentinels, key: bytes) -> None:
    """Until the replica has everything: what it does not have at a failover is lost in Redis."""
    deadline = time.monotonic() + 60
    while key not in ask(sentinels.replica, "KEYS", "*", login=SECRET, db=3):
        assert time.monotonic() < deadline, "the replica does not follow"
        time.sleep(0.02)


async def test_a_server_that_has_become_a_replica_is_left(system_clock: SystemClock) -> None:
    """The connection stands, and everything that writes is refused: READONLY."""
    with redis_server() as first, redis_server() as second:
        url = f"{first.url()};{second.url()}"
        broker = RedisBroker(url, clock=system_clock)
        await broker.publish(messages("before"))
        ask(first, "REPLICAOF", "127.0.0.1", second.port)
        with pytest.raises(BrokerUnavailable, match="read-only replica"):
            await broker.publish(messages("refused"))

        await publish_at_last(broker, "after")

        assert ids(await broker.receive(["mail"], limit=10, wait=5)) == ["after"]
        await broker.close()


async def test_what_the_sentinels_said_is_said(
    sentinels: RedisSentinels, system_clock: SystemClock
) -> None:
    url = sentinels.url(0, login=f":{SECRET}")
    name = sentinels.master_name
    for options, said in (
        ({"master_name": "nobody"}, "No such master"),
        ({"master_name": name, "min_other_sentinels": 5}, "min_other_sentinels"),
        ({"master_name": name, "sentinel_kwargs": {"password": "x"}}, "AUTH"),
    ):
        clients: dict[str, Any] = {
            "clock": system_clock,
            "transport_options": options,
            "max_retries": 0,
        }
        broker, backend = RedisBroker(url, **clients), RedisBackend(url, **clients)
        with pytest.raises(BrokerUnavailable, match=said) as raised:
            await broker.open()
        with pytest.raises(BackendUnavailable, match=said):
            await backend.open()

        assert SECRET not in str(raised.value)
        assert str(sentinels.sentinels[0].port) in str(raised.value)
        await broker.close()
        await backend.close()


async def test_everything_works_in_a_cluster(
    cluster: RedisCluster, system_clock: SystemClock
) -> None:
    options = {"global_keyprefix": "everything:"}
    clients: dict[str, Any] = {"clock": system_clock, "transport_options": options}
    broker = RedisBroker(cluster.url(), exchange_type=lambda _: "fanout", lease=1.5, **clients)
    backend = RedisBackend(cluster.url(), **clients)
    await broker.declare(
        [Queue("mail"), Queue("loud", Exchange("news", "fanout"), auto_delete=True)]
    )

    await broker.publish(messages("a", priority=9) + messages("b", not_before=time.time() + 0.1))
    # Whether somebody hears it on another node this one cannot know.
    await broker.publish([Message(id="c", body=b"[]", exchange="news", routing_key="loud")])
    got: list[Any] = []
    while len(got) < 3:
        got += await broker.receive(["mail", "loud"], limit=10, wait=10)
    again: list[Any] = []
    while len(again) < 2:
        # Their leases run out.
        again += await broker.receive(["mail"], limit=10, wait=10)
    await backend.store([result("r"), ResultRecord(id="f", state="FAILURE", body=b"{}")])

    assert sorted(ids(got)) == ["a", "b", "c"]
    assert sorted(ids(again)) == ["a", "b"]
    assert await broker.ack(again) == []
    assert sorted(await backend.load(["r", "f"])) == ["f", "r"]
    assert (await broker.stats(["mail"]))["mail"].ready == 0
    assert await broker.purge(["mail"]) == 0
    await broker.close()
    await backend.close()


async def test_a_slot_that_moves_is_followed(
    cluster: RedisCluster, system_clock: SystemClock
) -> None:
    options = {"global_keyprefix": "{moving}"}
    clients: dict[str, Any] = {
        "clock": system_clock,
        "transport_options": options,
        "max_retries": PATIENT,
    }
    broker, backend = RedisBroker(cluster.url(), **clients), RedisBackend(cluster.url(), **clients)
    await broker.publish(messages("held", "waiting"))
    held = await broker.receive(["mail"], limit=1, wait=5)
    await backend.store([result("before")])
    slot = slot_of("{moving}")
    source = cluster.node_of(slot)
    target = next(node for node in cluster.nodes if node is not source)

    await asyncio.to_thread(cluster.move, slot, target)
    got: list[Any] = []
    async with asyncio.timeout(30):
        while not got:
            try:
                got = await broker.receive(["mail"], limit=1, wait=5)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
        found: dict[str, ResultRecord] = {}
        while not found:
            try:
                found = await backend.load(["before"])
            except BackendUnavailable:
                await asyncio.sleep(0.05)

    assert ids(held) == ["held"]
    assert ids(got) == ["waiting"]
    assert await broker.ack([*held, *got]) == []
    assert list(found) == ["before"]
    await broker.close()
    await backend.close()


async def test_a_cluster_that_is_down_is_waited_for(
    cluster: RedisCluster, system_clock: SystemClock
) -> None:
    options = {"global_keyprefix": "{down}"}
    broker = RedisBroker(cluster.url(), clock=system_clock, transport_options=options)
    await broker.publish(messages("before"))
    slot = slot_of("{down}")
    node = cluster.node_of(slot)
    ask(node, "CLUSTER", "DELSLOTS", slot)
    with pytest.raises(BrokerUnavailable, match="CLUSTERDOWN"):
        await broker.publish(messages("refused"))
    ask(node, "CLUSTER", "ADDSLOTS", slot)

    await publish_at_last(broker, "after")

    assert ids(await broker.receive(["mail"], limit=10, wait=5)) == ["before", "after"]
    await broker.close()
