"""What every pool must pass.

A pool's test file says how one is made::

    class TestThreadPool(PoolContract):
        def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
            return ThreadPool(make_runner, size)

The requests that the suite submits are run by :class:`ContractRunner`, which knows no tasks
either: the request's task name says what to do, its body with what. What it asks about time limits
and cancelling what runs is in :mod:`umbel.testing.conformance.limits`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from umbel.model import Failed, Revoked, Succeeded
from umbel.testing.conformance.running import (
    PATIENCE,
    POLL,
    ContractRunner,
    Gate,
    MakePool,
    begun,
    collect,
    feed,
    request,
)
from umbel.testing.conformance.subject import Contract

__all__ = [
    "ContractRunner",
    "Gate",
    "MakePool",
    "PoolContract",
    "begun",
    "collect",
    "feed",
    "request",
]


class PoolContract(Contract):
    """Every submitted request yields exactly one outcome, whatever becomes of it."""

    async def test_a_request_yields_its_outcome(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)

        await pool.submit([request(1, body=b"\x00any\xff")])
        found = await collect(pool, 1)

        assert isinstance(found[1], Succeeded)
        assert found[1].record is not None
        assert found[1].record.body == b"\x00any\xff"

    async def test_thousands_of_requests_yield_one_outcome_each(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner, size=2 if self.concurrent else 1)
        requests = [request(key) for key in range(3000)]

        found = await feed(pool, requests)

        assert set(found) == set(range(3000))
        assert all(isinstance(outcome, Succeeded) for outcome in found.values())

    async def test_coroutines_and_functions_run_side_by_side(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        requests = [request(key, "aecho" if key % 2 else "echo") for key in range(50)]

        found = await feed(pool, requests)

        assert all(isinstance(outcome, Succeeded) for outcome in found.values())

    async def test_a_function_can_run_a_loop_of_its_own(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(key, "loop", b"%d" % key) for key in (1, 2)])

        bodies = {
            each.record.body
            for each in found.values()
            if isinstance(each, Succeeded) and each.record
        }
        assert bodies == {b"1", b"2"}

    @pytest.mark.parametrize("task", ["raise", "exit"])
    async def test_a_runner_that_raises_costs_one_failure(
        self, make_pool: MakePool, task: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(1), request(2, task), request(3)])

        assert isinstance(found[1], Succeeded)
        assert isinstance(found[3], Succeeded)
        failure = found[2]
        assert isinstance(failure, Failed)
        assert failure.cause == "raised"
        assert failure.record is None
        assert failure.reason in {"RuntimeError('a bug in the runner')", "SystemExit(3)"}

    async def test_an_outcome_of_ten_megabytes_arrives_whole(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(1, "large", b"10000000"), request(2)])

        assert isinstance(found[1], Succeeded)
        assert found[1].record is not None
        assert len(found[1].record.body) == 10_000_000

    async def test_a_request_of_ten_megabytes_arrives_whole(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        body = bytes(range(256)) * 40_000

        found = await feed(pool, [request(1, body=body)])

        assert isinstance(found[1], Succeeded)
        assert found[1].record is not None
        assert found[1].record.body == body

    async def test_an_outcome_that_cannot_be_encoded_costs_at_most_itself(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(1), request(2, "strange"), request(3)])

        assert isinstance(found[1], Succeeded)
        assert isinstance(found[2], Failed if self.processes else Succeeded)
        assert isinstance(found[3], Succeeded)

    async def test_free_shrinks_by_what_is_held_and_comes_back(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        before = pool.free

        await pool.submit([request(1, self.hold, gate.body)])
        assert pool.free == before - 1
        gate.open()
        await collect(pool, 1)

        assert pool.free >= 1

    async def test_no_more_than_size_run_at_once(self, make_pool: MakePool, gate: Gate) -> None:
        if not self.concurrent:
            pytest.skip("runs one at a time by construction")
        pool = await make_pool(ContractRunner, size=2)
        count = min(pool.free, 4)

        await pool.submit([request(key, self.hold, gate.body) for key in range(count)])
        started = await gate.reached(2)
        gate.open()
        await collect(pool, count)

        assert len(started) == 2

    async def test_a_request_that_has_not_started_can_be_cancelled(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        if pool.free < 2:
            pytest.skip("holds nothing that has not started")
        await pool.submit([request(1, self.hold, gate.body), request(2, self.hold, gate.body)])
        await gate.reached(1)

        await pool.cancel([2])
        await pool.cancel([2, 99])
        found = await collect(pool, 1)
        gate.open()
        rest = await collect(pool, 1)

        assert isinstance(found[2], Revoked)
        assert isinstance(rest[1], Succeeded)

    async def test_what_runs_is_known_with_its_process_and_since_when(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        assert pool.running() == []
        before = time.monotonic()
        await pool.submit([request(1, self.hold, gate.body)])
        await gate.reached(1)

        [running] = await begun(pool)
        gate.open()
        await collect(pool, 1)

        assert running.key == 1
        assert running.pid > 0
        assert before <= running.since <= time.monotonic()
        assert pool.running() == []

    async def test_what_has_not_started_can_be_withdrawn_and_has_no_outcome(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        count = min(pool.free, 3)
        submitted = [request(key, self.hold, gate.body) for key in range(1, count + 1)]
        await pool.submit(submitted)
        await gate.reached(1)

        assert await pool.withdraw([1, 99]) == []
        second = await pool.withdraw([2])
        rest = await pool.withdraw()
        gate.open()
        started = set(await collect(pool, count - len(second) - len(rest)))

        assert second == submitted[1:2][: len(second)]
        assert started | {each.key for each in second + rest} == set(range(1, count + 1))
        if not self.concurrent or pool.size == 1:
            assert started == {1}
        assert set(await feed(pool, [request(9)])) == {9}

    async def test_cancelling_what_has_ended_changes_nothing(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1)])
        await collect(pool, 1)

        await pool.cancel([1], signal="SIGTERM")
        found = await feed(pool, [request(2)])

        assert isinstance(found[2], Succeeded)

    async def test_a_taker_that_is_cancelled_loses_no_outcome(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, self.hold, gate.body)])
        await gate.reached(1)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pool.outcomes()
        gate.open()

        assert isinstance((await collect(pool, 1))[1], Succeeded)

    async def test_a_pool_can_grow_and_shrink(self, make_pool: MakePool, gate: Gate) -> None:
        if not self.concurrent:
            pytest.skip("has one size")
        pool = await make_pool(ContractRunner, size=1)

        await pool.resize(3)
        assert pool.size == 3
        submitted = 0
        async with asyncio.timeout(PATIENCE):
            while submitted < 3:
                if pool.free:
                    await pool.submit([request(submitted, self.hold, gate.body)])
                    submitted += 1
                await asyncio.sleep(POLL)
        await gate.reached(3)
        await pool.resize(1)
        gate.open()
        found = await collect(pool, 3)

        assert all(isinstance(outcome, Succeeded) for outcome in found.values())
        assert pool.size == 1
        assert isinstance((await feed(pool, [request(9)]))[9], Succeeded)

    async def test_stopping_lets_what_runs_finish(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, self.hold, gate.body)])
        await gate.reached(1)

        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(pool.stop(grace=PATIENCE))
            group.create_task(_soon(gate.open))

        assert stopping.result() == []
        assert isinstance((await collect(pool, 1))[1], Succeeded)
        assert await pool.outcomes() == []

    async def test_stopping_returns_exactly_what_did_not_finish(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await feed(pool, [request(1)])
        held = [request(key, self.hold, gate.body) for key in range(2, 2 + min(pool.free, 4))]
        await pool.submit(held)
        started = await gate.reached(1)

        returned = await pool.stop(grace=0.05)

        assert sorted(one.key for one in returned) == [one.key for one in held]
        assert returned[-1].key in started
        assert pool.free == 0
        assert await pool.outcomes() == []
        gate.open()

    async def test_a_stop_that_is_cancelled_can_be_repeated_with_less_grace(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        held = [request(key, self.hold, gate.body) for key in range(min(pool.free, 3))]
        await pool.submit(held)
        await gate.reached(1)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.stop(grace=float("inf"))
        returned = await pool.stop(grace=0)

        assert sorted(one.key for one in returned) == [one.key for one in held]
        gate.open()

    async def test_an_idle_pool_stops_at_once(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)

        async with asyncio.timeout(30):
            assert await pool.stop(grace=float("inf")) == []


async def _soon(call: Callable[[], None]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    call()
