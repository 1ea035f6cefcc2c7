"""Fixtures for the contracts: servers of our own, one for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from umbel.clock import SystemClock
from umbel.testing.servers import (
    RabbitMQServer,
    RedisServer,
    ServerMissing,
    rabbitmq_server,
    redis_server,
    required,
)

_numbers = count(1)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A private Redis; without one its tests are skipped, or fail where it is required."""
    try:
        with redis_server() as server:
            yield server
    except ServerMissing as exc:
        if required("redis"):
            pytest.fail(f"UMBEL_REQUIRE asks for redis: {exc}")
        pytest.skip(f"no tests with Redis: {exc}")


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """An empty database of the private Redis."""
    db = next(_numbers) % 16
    redis.flush(db)
    return redis.url(db)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A private RabbitMQ; without one its tests are skipped, or fail where it is required."""
    try:
        with rabbitmq_server() as server:
            yield server
    except ServerMissing as exc:
        if required("rabbitmq"):
            pytest.fail(f"UMBEL_REQUIRE asks for rabbitmq: {exc}")
        pytest.skip(f"no tests with RabbitMQ: {exc}")


@pytest.fixture
def system_clock() -> SystemClock:
    """The time that a real server also has."""
    return SystemClock()
