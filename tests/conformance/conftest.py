"""Fixtures for the contracts: servers of our own, one for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest
import redis as redis_py

from umbel.clock import SystemClock
from umbel.testing.proxy import Proxy
from umbel.testing.servers import (
    RabbitMQServer,
    RedisServer,
    rabbitmq_server,
    redis_server,
)

_numbers = count(1)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A private Redis."""
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """An empty database of the private Redis."""
    db = next(_numbers) % 16
    redis.flush(db)
    return redis.url(db)


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


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A private RabbitMQ."""
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def system_clock() -> SystemClock:
    """The time that a real server also has."""
    return SystemClock()
