"""The pools that run tasks in the worker's own process, against the contract."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import psutil

from umbel.model import Outcome, Request, Revoked, Succeeded
from umbel.pools.inline import InlinePool
from umbel.pools.loops import AsyncioPool
from umbel.pools.threads import ThreadPool
from umbel.protocols import Pool, Runner
from umbel.testing.conformance.limits import LimitsContract
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    PoolContract,
    collect,
    request,
)


class TestInlinePool(PoolContract, LimitsContract):
    concurrent = False
    hold = "ahold"
    endable = False

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
        return InlinePool(make_runner)

    async def test_a_running_coroutine_can_be_cancelled(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "acancel", gate.body)])
        await gate.reached(1)

        await pool.cancel([1], signal="SIGTERM")

        assert isinstance((await collect(pool, 1))[1], Revoked)

    async def test_the_loop_runs_between_two_tasks(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        turns = 0

        async def renew() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        renewing = asyncio.create_task(renew())
        await pool.submit([request(key, "busy", b"0.06") for key in range(2)])
        await collect(pool, 2)
        renewing.cancel()

        assert turns > 2


class TestThreadPool(PoolContract, LimitsContract):
    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
        return ThreadPool(make_runner, size)


class TestAsyncioPool(PoolContract, LimitsContract):
    hold = "ahold"
    size = 5

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
        return AsyncioPool(make_runner, size)

    async def test_no_more_than_size_run_at_once(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner, size=2)

        await pool.submit([request(key, "ahold", gate.body) for key in range(2)])
        await gate.reached(2)
        room = pool.free
        gate.open()
        await collect(pool, 2)

        assert room == 0
        assert pool.free == 2

    async def test_a_running_coroutine_can_be_cancelled(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "acancel", gate.body)])
        await gate.reached(1)

        await pool.cancel([1], signal="SIGTERM")

        assert isinstance((await collect(pool, 1))[1], Revoked)

    async def test_a_request_that_has_not_started_can_be_cancelled(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=50)
        await pool.submit([request(key, "hold", gate.body) for key in range(20)])
        [*_, last] = await gate.reached(8)
        waiting = max(set(range(20)) - set(gate.started()))

        await pool.cancel([waiting])
        found = await collect(pool, 1)
        gate.open()
        rest = await collect(pool, 19)

        assert isinstance(found[waiting], Revoked)
        assert isinstance(rest[last], Succeeded)

    async def test_a_blocking_task_does_not_hold_coroutines_up(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)

        await pool.submit([request(1, "hold", gate.body), request(2, "aecho")])
        found = await collect(pool, 1)
        gate.open()
        await collect(pool, 1)

        assert isinstance(found[2], Succeeded)

    async def test_thousands_of_coroutines_wait_at_once(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2000)

        await pool.submit([request(key, "ahold", gate.body) for key in range(2000)])
        await gate.reached(2000)
        gate.open()

        assert len(await collect(pool, 2000)) == 2000

    async def test_every_coroutine_has_a_context_of_its_own(self, make_pool: MakePool) -> None:
        variable: ContextVar[int] = ContextVar("variable", default=0)
        seen: list[int] = []

        class Setting(ContractRunner):
            async def arun(self, request: Request) -> Outcome:
                seen.append(variable.get())
                variable.set(request.key)
                await asyncio.sleep(0)
                seen.append(variable.get())
                return await super().arun(request)

        pool = await make_pool(Setting)
        await pool.submit([request(1, "aecho"), request(2, "aecho")])
        await collect(pool, 2)

        assert sorted(seen) == [0, 0, 1, 2]
        assert variable.get() == 0


async def test_threads_that_were_interrupted_leave_nothing_behind_that_stops_a_profiler() -> None:
    pool = ThreadPool(ContractRunner, 2)
    await pool.start()
    requests = [request(key, "busy", b"0.03", soft=0.02) for key in range(10)]
    for each in requests:
        await pool.submit([each])
        await collect(pool, 1)
    await pool.stop(grace=1)

    # In a child: a profiler that hangs takes no signals either.
    pid = os.fork()
    if not pid:
        sys.setprofile(lambda *_: None)
        request(1)
        os._exit(0)
    process = psutil.Process(pid)
    try:
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
