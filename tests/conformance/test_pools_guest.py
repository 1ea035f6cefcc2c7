"""Pools that programs bring along, against the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from tests.conformance.guests import BlockingPool, ProcessesPool, ThreadsPool
from umbel.model import Failed, Revoked, Succeeded
from umbel.pools.guest import GuestPool
from umbel.protocols import Pool, Runner
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    PoolContract,
    begun,
    collect,
    request,
)


class Guests(PoolContract):
    """A guest: made, started, stopped."""

    guest: ClassVar[Any]
    processes = True
    """As far as it matters: requests and outcomes cross to it as bytes."""

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
        return GuestPool(make_runner, make_runner, lambda: self.guest(size, app=None))


class TestThreads(Guests):
    guest = ThreadsPool

    async def test_a_guest_that_cannot_end_what_runs_says_so(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)
        await begun(pool)

        await pool.cancel([1], signal="SIGTERM")
        gate.open()

        assert isinstance((await collect(pool, 1))[1], Succeeded)
        assert "cannot end what runs" in caplog.text


class TestProcesses(Guests):
    guest = ProcessesPool

    async def test_a_pool_can_grow_and_shrink(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner, size=1)
        with pytest.raises(ValueError, match="cannot be resized"):
            await pool.resize(3)
        assert pool.size == 1

    async def test_what_runs_is_ended_by_the_guest(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)
        await begun(pool)

        await pool.cancel([1], signal="KILL")

        assert isinstance((await collect(pool, 1))[1], Revoked)

    async def test_a_process_that_ends_costs_its_task(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "die")])

        outcome = (await collect(pool, 1))[1]

        assert isinstance(outcome, Failed)
        assert outcome.cause == "worker-lost"


class TestBlocking(Guests):
    guest = BlockingPool
    concurrent = False
