"""An empty database, the drivers on it, and what looks behind the scenes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RedisServer

_numbers = count(1)


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """An empty database of the private Redis."""
    db = next(_numbers) % 16
    redis.flush(db)
    return redis.url(db)


@pytest.fixture
async def broker(redis_url: str, system_clock: SystemClock) -> AsyncIterator[RedisBroker]:
    """A broker on that database."""
    broker = RedisBroker(redis_url, clock=system_clock)
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def backend(redis_url: str, system_clock: SystemClock) -> AsyncIterator[RedisBackend]:
    """A result backend on that database."""
    backend = RedisBackend(redis_url, clock=system_clock)
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis_py.Redis]:
    """Another client of that database, to look behind the scenes."""
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def sleeping_clients() -> Callable[[redis_py.Redis], set[str]]:
    """Gives the clients that looked for messages last, found none, and now wait to be told."""

    def sleeping_clients(server: redis_py.Redis) -> set[str]:
        return {client["id"] for client in server.client_list() if client["cmd"] == "time"}

    return sleeping_clients


@pytest.fixture
def wire(redis: RedisServer) -> Iterator[Proxy]:
    """A wire to the private Redis that can be cut."""
    with Proxy(redis.port) as proxy:
        yield proxy


@pytest.fixture
def wired_url(wire: Proxy, redis_url: str) -> str:
    """The empty database, over the wire that can be cut."""
    return f"redis://127.0.0.1:{wire.port}/{redis_url.rpartition('/')[2]}"
