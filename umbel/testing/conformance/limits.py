"""The part of the pools' contract about time limits and cancelling."""

from __future__ import annotations

import asyncio
import time

import pytest

from umbel.model import Failed, Revoked, Succeeded
from umbel.protocols import Pool
from umbel.testing.conformance.running import (
    ContractRunner,
    Gate,
    MakePool,
    collect,
    feed,
    request,
)
from umbel.testing.conformance.subject import Contract

__all__ = ["LimitsContract"]

_SOON = 0.2
"""Seconds; longer than starting a task takes."""
_NEVER = 600.0


class LimitsContract(Contract):
    """A limit ends the task that has it, and no other; what ended in time has no limit."""

    waiting = ("hold", "ahold")
    """The waiting tasks that can be interrupted."""
    patient = ("patient", "apatient")
    """The same, for those that catch ``SoftTimeLimitExceeded``."""
    endable = True
    """Whether a function that runs can be cancelled."""

    @pytest.mark.parametrize("index", [0, 1])
    async def test_a_soft_limit_is_an_exception_in_the_task(
        self, make_pool: MakePool, gate: Gate, index: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)
        began = time.monotonic()

        await pool.submit([request(1, self.waiting[index], gate.body, soft=_SOON)])
        outcome = (await collect(pool, 1))[1]

        assert isinstance(outcome, Failed)
        assert (outcome.cause, outcome.reason) == ("raised", "SoftTimeLimitExceeded()")
        assert time.monotonic() - began >= _SOON
        name = self.waiting[index]
        assert f"Soft time limit ({_SOON}s) exceeded for {name}[id-1]" in caplog.text

    @pytest.mark.parametrize("index", [0, 1])
    async def test_a_task_may_catch_its_soft_limit(
        self, make_pool: MakePool, gate: Gate, index: int
    ) -> None:
        pool = await make_pool(ContractRunner)
        # Late enough for a busy machine to have come to where the task catches it.
        one = request(1, self.patient[index], gate.body, soft=5 * _SOON, hard=_NEVER)

        found = await feed(pool, [one, request(2)])

        outcome = found[1]
        assert isinstance(outcome, Succeeded)
        assert outcome.record is not None
        assert outcome.record.body == b"soft"
        assert isinstance(found[2], Succeeded)

    @pytest.mark.parametrize("index", [0, 1])
    async def test_a_hard_limit_ends_the_task(
        self, make_pool: MakePool, gate: Gate, index: int
    ) -> None:
        pool = await make_pool(ContractRunner)

        await pool.submit([request(1, self.waiting[index], gate.body, hard=_SOON)])
        outcome = (await collect(pool, 1))[1]

        assert isinstance(outcome, Failed)
        assert (outcome.cause, outcome.reason) == ("time-limit", f"{_SOON}")
        assert outcome.runtime >= _SOON
        assert outcome.record is None
        assert isinstance((await feed(pool, [request(2)]))[2], Succeeded)

    async def test_a_hard_limit_comes_after_a_soft_one_that_did_not_help(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)
        if not self.endable:
            pytest.skip("cannot end what goes on whatever is raised")
        task = "astubborn" if self.hold == "ahold" else "stubborn"

        await pool.submit([request(1, task, gate.body, soft=_SOON, hard=2 * _SOON)])
        outcome = (await collect(pool, 1))[1]
        gate.open()

        assert isinstance(outcome, Failed)
        assert outcome.cause == "time-limit"
        assert caplog.text.count("Soft time limit") == 1

    async def test_what_waited_behind_a_task_that_was_ended_runs(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await feed(pool, [request(key) for key in range(200)])
        others = [request(key) for key in range(1001, 1000 + min(pool.free, 30))]

        await pool.submit([request(1000, self.hold, gate.body, hard=_SOON), *others])
        found = await collect(pool, 1 + len(others))

        assert isinstance(found.pop(1000), Failed)
        assert all(isinstance(outcome, Succeeded) for outcome in found.values())

    async def test_limits_count_from_when_a_task_starts(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        if pool.free < 2:
            pytest.skip("holds nothing that has not started")
        held = [request(1, self.hold, gate.body)]
        held += [request(key, soft=_SOON, hard=_SOON) for key in range(2, 1 + min(pool.free, 5))]

        await pool.submit(held)
        await gate.reached(1)
        await asyncio.sleep(2 * _SOON)
        gate.open()
        found = await collect(pool, len(held))

        assert all(isinstance(outcome, Succeeded) for outcome in found.values())

    async def test_thousands_of_tasks_within_their_limits_are_not_touched(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner, size=2 if self.concurrent else 1)
        requests = [
            request(key, "aecho" if key % 3 == 0 else "echo", soft=_NEVER, hard=2 * _NEVER)
            for key in range(2000)
        ]

        found = await feed(pool, requests)

        assert all(isinstance(outcome, Succeeded) for outcome in found.values())

    async def test_an_interruption_hits_nothing_but_its_task(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner, size=2 if self.concurrent else 1)
        task = "busy" if self.hold == "hold" else "abusy"
        # Ends at about the moment at which the limit is over.
        requests = [
            request(key, task, b"0.06", soft=0.045 + key % 8 * 0.004) if key % 2 else request(key)
            for key in range(80)
        ]

        found = await feed(pool, requests)

        for one in requests:
            outcome = found[one.key]
            if one.soft_time_limit is None:
                assert isinstance(outcome, Succeeded)
            elif isinstance(outcome, Failed):
                assert outcome.reason == "SoftTimeLimitExceeded()"
        assert "the runner raised" not in caplog.text

    @pytest.mark.parametrize("index", [0, 1])
    async def test_a_running_task_that_is_signalled_is_revoked(
        self, make_pool: MakePool, gate: Gate, index: int
    ) -> None:
        pool = await make_pool(ContractRunner)
        if not self.endable and index == 0:
            pytest.skip("nobody can ask while a function runs")
        await pool.submit([request(1, self.waiting[index], gate.body)])
        await gate.reached(1)

        await pool.cancel([1], signal="SIGTERM")
        outcome = (await collect(pool, 1))[1]

        assert isinstance(outcome, Revoked)
        assert outcome.record is None
        assert outcome.runtime > 0
        assert isinstance((await feed(pool, [request(2)]))[2], Succeeded)

    async def test_a_running_task_that_is_cancelled_without_a_signal_goes_on(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, self.hold, gate.body)])
        await gate.reached(1)

        await pool.cancel([1])
        gate.open()

        assert isinstance((await collect(pool, 1))[1], Succeeded)

    async def test_whoever_watches_is_told_of_room_that_no_outcome_made(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        if not self.concurrent:
            pytest.skip("has one size")
        pool = await make_pool(ContractRunner, size=1)
        told = asyncio.Event()
        pool.watch(told.set)
        await _fill(pool, gate, self.hold)

        await pool.resize(2)
        async with asyncio.timeout(30):
            while not pool.free:
                await told.wait()
                told.clear()
        gate.open()

        assert pool.free >= 1

    async def test_restarting_loses_nothing(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner)
        await feed(pool, [request(key) for key in range(100)])
        held = [request(key, self.hold, gate.body) for key in range(min(pool.free, 4))]
        await pool.submit(held)
        await gate.reached(1)

        await pool.restart()
        gate.open()
        found = await collect(pool, len(held))

        assert all(isinstance(outcome, Succeeded) for outcome in found.values())
        assert isinstance((await feed(pool, [request(9)]))[9], Succeeded)


async def _fill(pool: Pool, gate: Gate, task: str) -> None:
    """Let it have no room, because a long task runs."""
    await pool.submit([request(1, task, gate.body)])
    await gate.reached(1)
    async with asyncio.timeout(30):
        while free := pool.free:
            await pool.submit([request(key, task, gate.body) for key in range(2, 2 + free)])
            await asyncio.sleep(0.1)
