"""Servers that hang, or go and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.model import Message
from umbel.testing.conformance.messages import ids, until
from umbel.testing.servers import redis_server


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


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


async def test_a_restarted_redis_is_found_again(
    system_clock: SystemClock, sleeping_clients: Callable[..., set[str]]
) -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url(), clock=system_clock, max_retries=50)
        receiving = asyncio.create_task(broker.receive(["mail"], limit=1, wait=20))
        with redis_py.Redis(port=server.port) as client:
            await until(lambda: sleeping_clients(client))
        server.kill()
        await asyncio.to_thread(server.start)
        await broker.publish(messages("a"))

        assert ids(await receiving) == ["a"]
        await broker.close()


async def test_a_watch_fails_when_redis_stays_away(system_clock: SystemClock) -> None:
    with redis_server() as server:
        backend = RedisBackend(server.url(), clock=system_clock, max_retries=1)
        async with backend.watch(["a"]) as changes:
            server.kill()
            with pytest.raises(BackendUnavailable, match="connection refused"):
                async with asyncio.timeout(30):
                    await anext(changes)
        await backend.close()


@pytest.mark.parametrize("seconds", [-300, 0, 300])
async def test_a_consumer_knows_how_wrong_its_clock_is(redis_url: str, seconds: float) -> None:
    class Wrong(SystemClock):
        def time(self) -> float:
            return super().time() + seconds

    broker = RedisBroker(redis_url, clock=Wrong())
    await broker.receive(["mail"], limit=1, wait=0)

    assert broker.skew == pytest.approx(-seconds, abs=30)
    assert (broker.skew == 0) == (seconds == 0)
    await broker.close()


class Slow(SystemClock):
    """Some seconds of it are missing: to who goes by it, any other clock leaps forward."""

    missing = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return super().monotonic() - self.missing


async def test_leases_outlast_a_leap_of_the_servers_clock_if_their_holders_live(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Slow()
    holder = RedisBroker(redis_url, clock=SystemClock(), lease=4.0)
    other = RedisBroker(redis_url, clock=clock, lease=4.0)
    await holder.publish(messages("lives", "died"))
    lives, died = await holder.receive(["mail"], limit=2, wait=10)
    assert await other.receive(["mail"], limit=2, wait=0) == []

    # A round one second from now; four are missing, in which leases have run out.
    clock.missing = 4.0
    await asyncio.sleep(5.5)
    assert await other.receive(["mail"], limit=2, wait=0) == []
    assert "Redis' clock leapt forward by 4 seconds" in caplog.text
    assert await holder.extend([lives], lease=60.0) == []

    assert ids(await other.receive(["mail"], limit=2, wait=30)) == [died.message.id]
    assert await holder.ack([lives, died]) == [died]
    await holder.close()
    await other.close()
