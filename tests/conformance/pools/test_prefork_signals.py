"""Signals, from whomever, and tasks that are ended because their time is over or nobody wants
them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from umbel.model import Failed, Revoked, Succeeded
from umbel.pools.prefork import PreforkPool
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    collect,
    feed,
    request,
)

from .prefork import Family, Forked, until


class TestSignals(Forked):
    async def test_a_signalled_request_is_revoked_and_no_other_is(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key) for key in range(200)])
        requests = [request(key, "hold", gate.body) for key in range(6)]
        await pool.submit(requests)
        started = await gate.reached(2)

        await pool.cancel([started[0]], signal="TERM")
        found = await collect(pool, 1)
        gate.open()
        found |= await collect(pool, 5)

        assert isinstance(found[started[0]], Revoked)
        others = [outcome for key, outcome in found.items() if key != started[0]]
        assert all(isinstance(outcome, Succeeded) for outcome in others)

    async def test_an_unknown_signal_is_refused(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)

        with pytest.raises(ValueError, match="'NOSUCH' is not a signal"):
            await pool.cancel([1], signal="NOSUCH")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_a_signal_to_the_whole_group_ends_no_task(
        self, make_pool: MakePool, gate: Gate, family: Family, number: signal.Signals
    ) -> None:
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)

        for process in family():
            process.send_signal(number)
        gate.open()

        assert isinstance((await collect(pool, 1))[1], Succeeded)

    async def test_a_task_that_has_run_too_long_is_shown_before_it_is_killed(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)

        await pool.submit([request(1, "spin", gate.body, hard=0.1)])
        found = await collect(pool, 1)

        assert isinstance(found[1], Failed)
        assert "running.py" in caplog.text
        assert "in _wait" in caplog.text

    async def test_a_task_that_ends_when_its_time_does_costs_no_other_task(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        requests = [
            request(key, "busy", b"0.15", hard=0.04 + key % 10 * 0.01) if key % 2 else request(key)
            for key in range(80)
        ]

        found = await feed(pool, requests)

        assert all(isinstance(found[key], Succeeded) for key in range(0, 80, 2))
        late = [found[key] for key in range(1, 80, 2)]
        assert all(isinstance(one, Succeeded) or one.cause == "time-limit" for one in late)  # type: ignore[union-attr]
        assert any(isinstance(one, Failed) for one in late)

    async def test_a_signal_that_ends_nothing_leaves_the_limit_in_force(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner)
        await pool.submit([request(1, "hold", gate.body, hard=0.6)])
        await gate.reached(1)

        await pool.cancel([1], signal="SIGINT")
        found = await collect(pool, 1)

        assert isinstance(found[1], Failed)
        assert found[1].cause == "time-limit"
        assert isinstance((await feed(pool, [request(2)]))[2], Succeeded)

    async def test_a_stopped_child_is_told_of_and_gets_nothing_until_it_is_continued(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)
        [pid] = pool.pids

        os.kill(pid, signal.SIGSTOP)
        await until(lambda: "is stopped (SIGSTOP)" in caplog.text)
        room = pool.free
        await pool.submit([request(1)])
        os.kill(pid, signal.SIGCONT)
        found = await collect(pool, 1)

        assert room == 0
        assert isinstance(found[1], Succeeded)
        assert pool.pids == [pid]

    async def test_a_child_that_stays_stopped_is_replaced(
        self, make_pool: MakePool, gate: Gate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("umbel.pools.prefork.oversight._STOPPED", 0.2)
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)

        os.kill(pool.pids[0], signal.SIGSTOP)
        found = await collect(pool, 1)

        assert isinstance(found[1], Failed)
        assert found[1].cause == "worker-lost"
        assert isinstance((await feed(pool, [request(2)]))[2], Succeeded)

    async def test_cancelling_while_stopping_gives_back_what_never_started(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key) for key in range(200)])
        await pool.submit([request(key, "hold", gate.body) for key in range(6)])
        started = await gate.reached(2)
        stopping = asyncio.create_task(pool.stop(grace=float("inf")))
        await asyncio.sleep(0)

        await pool.cancel(list(range(6)), signal="SIGKILL")
        found = await collect(pool, 2)
        returned = await stopping

        assert set(found) == set(started)
        assert all(isinstance(one, Revoked) and one.runtime > 0 for one in found.values())
        assert sorted([*started, *(one.key for one in returned)]) == list(range(6))
