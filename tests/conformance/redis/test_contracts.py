"""The Redis drivers against the contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
import redis.asyncio as redis_py

from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.drivers.redis.fanout import RedisFanout
from umbel.protocols import Broker, Fanout, ResultBackend
from umbel.testing.conformance.backend import BackendContract, MakeBackend
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.clocks import WaitingClock
from umbel.testing.conformance.dead_letters import KEPT, DeadLetterContract
from umbel.testing.conformance.fanout import FanoutContract, MakeFanout
from umbel.testing.conformance.revocations import RevocationContract
from umbel.testing.conformance.schedules import ScheduleContract

LEASE = 1.5


class TestRedisBroker(BrokerContract, DeadLetterContract, RevocationContract, ScheduleContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    async def make_broker(self, clock: WaitingClock, redis_url: str) -> AsyncIterator[MakeBroker]:
        made: list[RedisBroker] = []

        async def make() -> Broker:
            broker = RedisBroker(redis_url, clock=clock, lease=LEASE, keep_dead=KEPT)
            await broker.open()
            made.append(broker)
            return broker

        yield make
        for broker in made:
            await broker.close()

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
        made: list[RedisBackend] = []

        async def make() -> ResultBackend:
            backend = RedisBackend(redis_url, clock=clock)
            await backend.open()
            made.append(backend)
            return backend

        yield make
        for backend in made:
            await backend.close()


class TestRedisFanout(FanoutContract):
    @pytest.fixture
    async def make_fanout(self, redis_url: str) -> AsyncIterator[MakeFanout]:
        made: list[RedisFanout] = []

        async def make() -> Fanout:
            fanout = RedisFanout(redis_url, clock=WaitingClock())
            await fanout.open()
            made.append(fanout)
            return fanout

        yield make
        for fanout in made:
            await fanout.close()
