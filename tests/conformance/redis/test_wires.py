"""Wires between us and Redis that are cut, or lose what comes back: nothing is lost with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BrokerUnavailable
from umbel.model import Message, ResultRecord
from umbel.testing.conformance.messages import ids, until
from umbel.testing.proxy import Proxy


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


@pytest.fixture
async def broker(
    wire: Proxy, wired_url: str, system_clock: SystemClock
) -> AsyncIterator[RedisBroker]:
    """A broker whose wire can be cut."""
    broker = RedisBroker(wired_url, clock=system_clock)
    await broker.open()
    yield broker
    wire.heal()
    await broker.close()


async def test_what_a_lost_answer_had_leased_comes_back_at_once(
    broker: RedisBroker, wire: Proxy, server: redis_py.Redis
) -> None:
    await broker.receive(["mail"], limit=10, wait=0)
    await broker.publish(messages("a", "b"))
    wire.mute("to_client")

    receiving = asyncio.create_task(broker.receive(["mail"], limit=10, wait=5))
    await until(lambda: server.hlen("unacked") == 2)
    wire.heal()
    got = await receiving

    assert ids(got) == ["a", "b"]
    # Nobody had seen them.
    assert [(each.attempt, each.redelivered) for each in got] == [(1, False)] * 2
    assert server.hlen("unacked") == 2


async def test_a_publish_whose_answer_is_lost_says_that_nothing_is_known(
    broker: RedisBroker, wire: Proxy, server: redis_py.Redis
) -> None:
    wire.mute("to_client")

    publishing = asyncio.create_task(broker.publish(messages("a")))
    await until(lambda: server.llen("mail") == 1)
    wire.cut()

    with pytest.raises(BrokerUnavailable, match="lost the connection to Redis at redis://127"):
        await publishing


async def test_an_ack_whose_answer_is_lost_may_be_repeated(
    broker: RedisBroker, wire: Proxy, server: redis_py.Redis
) -> None:
    await broker.publish(messages("a"))
    got = await broker.receive(["mail"], limit=10, wait=5)
    wire.mute("to_client")

    acking = asyncio.create_task(broker.ack(got))
    await until(lambda: server.hlen("unacked") == 0)
    wire.cut()
    with pytest.raises(BrokerUnavailable):
        await acking
    wire.heal()

    assert await broker.ack(got) == got
    assert await broker.receive(["mail"], limit=10, wait=0) == []


async def test_a_cut_wire_does_not_disturb_a_receive_that_waits(
    broker: RedisBroker,
    wire: Proxy,
    redis_url: str,
    server: redis_py.Redis,
    sleeping_clients: Callable[..., set[str]],
) -> None:
    receiving = asyncio.create_task(broker.receive(["mail"], limit=10, wait=10))
    await until(lambda: sleeping_clients(server))
    before = sleeping_clients(server)
    wire.cut()
    await until(lambda: sleeping_clients(server) - before)
    other = RedisBroker(redis_url, clock=SystemClock())
    await other.publish(messages("a"))

    assert ids(await receiving) == ["a"]
    await other.close()


async def test_a_watch_survives_a_cut_wire(
    wire: Proxy, wired_url: str, redis_url: str, system_clock: SystemClock
) -> None:
    direct = RedisBackend(redis_url, clock=system_clock)
    cuttable = RedisBackend(wired_url, clock=system_clock)
    async with cuttable.watch(["a", "b"]) as changes:
        wire.cut()
        await direct.store([ResultRecord(id="a", state="SUCCESS", body=b'{"status": "SUCCESS"}')])
        async with asyncio.timeout(30):
            (first,) = await anext(changes)
        await direct.store([ResultRecord(id="b", state="FAILURE", body=b'{"status": "FAILURE"}')])
        async with asyncio.timeout(30):
            (second,) = await anext(changes)

    assert (first.id, second.id, second.state) == ("a", "b", "FAILURE")
    await direct.close()
    await cuttable.close()
