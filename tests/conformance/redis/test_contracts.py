"""The Redis drivers against the contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
import redis.asyncio as redis_py

from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.drivers.redis.fanout import RedisFanout
from umbel.protocols import Broker
from umbel.testing.conformance.backend import BackendContract, MakeBackend
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.clocks import WaitingClock
from umbel.testing.conformance.dead_letters import KEPT, DeadLetterContract
from umbel.testing.conformance.fanout import FanoutContract, MakeFanout
from umbel.testing.conformance.opening import opening
from umbel.testing.conformance.revocations import RevocationContract
from umbel.testing.conformance.schedules import ScheduleContract

LEASE = 1.5


class TestRedisBroker(BrokerContract, DeadLetterContract, RevocationContract, ScheduleContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    async def make_broker(self, clock: WaitingClock, redis_url: str) -> AsyncIterator[MakeBroker]:
        async with opening(
            lambda: RedisBroker(redis_url, clock=clock, lease=LEASE, keep_dead=KEPT)
        ) as make:
            yield make

    @pytest.fixture
    def cut(self, redis_url: str) -> Callable[[Broker], Awaitable[None]]:
        async def cut(broker: Broker) -> None:
            async with redis_py.Redis.from_url(redis_url) as client:
                for other in await client.client_list():
                    if other["name"] == cast("RedisBroker", broker).client_name:
                        await client.client_kill(other["addr"])

        return cut


class TestRedisBackend(BackendContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    async def make_backend(self, clock: WaitingClock, redis_url: str) -> AsyncIterator[MakeBackend]:
        async with opening(lambda: RedisBackend(redis_url, clock=clock)) as make:
            yield make


class TestRedisFanout(FanoutContract):
    @pytest.fixture
    async def make_fanout(self, redis_url: str) -> AsyncIterator[MakeFanout]:
        async with opening(lambda: RedisFanout(redis_url, clock=WaitingClock())) as make:
            yield make
