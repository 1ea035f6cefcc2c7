"""Servers of our own, one of a kind for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel.clock import SystemClock
from umbel.testing.servers import RabbitMQServer, RedisServer, rabbitmq_server, redis_server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A private Redis."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A private RabbitMQ."""
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def system_clock() -> SystemClock:
    """The time that a real server also has."""
    return SystemClock()
