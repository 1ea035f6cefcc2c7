"""The Redis drivers against the contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
import redis.asyncio as redis_py

from umbel.drivers.redis.broker import RedisBroker
from umbel.protocols import Broker
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.clocks import WaitingClock

LEASE = 1.0


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    async def make_broker(self, clock: WaitingClock, redis_url: str) -> AsyncIterator[MakeBroker]:
        made: list[RedisBroker] = []

        async def make() -> Broker:
            broker = RedisBroker(redis_url, clock=clock, lease=LEASE)
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
