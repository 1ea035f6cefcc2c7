"""The gevent and eventlet pools against the contract, and what only they can do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import psutil
import pytest

from umbel.model import Failed, Outcome, Request, Revoked, Succeeded
from umbel.pools.green import GreenPool
from umbel.pools.green.hubs import HubKind
from umbel.protocols import Runner
from umbel.testing.conformance.limits import LimitsContract
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    PoolContract,
    begun,
    collect,
    feed,
    request,
)
from umbel.testing.conformance.subject import Contract

from .prefork import Family


def skip_without(library: str) -> None:
    # Not imported here: eventlet minds every fork of a process that has it.
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


class BlockingRunner(ContractRunner):
    """``block`` never lets another greenlet run."""

    def _doing(self, request: Request) -> Outcome:
        while request.task == "block":
            sum(range(1000))
        return super()._doing(request)


class Green:
    kind: HubKind = "gevent"

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> GreenPool:
        skip_without(self.kind)
        return GreenPool(make_runner, size, kind=self.kind)

    async def test_hundreds_of_functions_wait_at_once(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=300)

        await pool.submit([request(key, "hold", gate.body) for key in range(300)])
        await gate.reached(300)
        room = pool.free
        gate.open()

        assert room == 0
        assert len(await collect(pool, 300)) == 300

    async def test_this_process_is_not_patched(self, make_pool: MakePool) -> None:
        await make_pool(ContractRunner)

        assert time.sleep.__module__ == "time"

    async def test_a_dead_child_costs_what_ran_in_it_and_is_replaced(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner, size=5)
        await pool.submit([request(key, "hold", gate.body) for key in range(3)])
        await gate.reached(3)
        [running, *_] = await begun(pool, 3)

        os.kill(running.pid, signal.SIGKILL)
        found = await collect(pool, 3)

        for outcome in found.values():
            assert isinstance(outcome, Failed)
            assert (outcome.cause, outcome.reason) == ("worker-lost", "signal 9 (SIGKILL)")
        assert isinstance((await feed(pool, [request(9)]))[9], Succeeded)


class TestGeventPool(Green, PoolContract, LimitsContract):
    processes = True

    async def test_a_task_that_never_waits_is_shown_and_killed_after_its_hard_limit(
        self, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("umbel.pools.green.parent._PATIENCE", 0.3)
        pool = await make_pool(BlockingRunner, size=2)

        await pool.submit([request(1, "block", hard=0.2), request(2, "hold", b"/nowhere/gate")])
        found = await collect(pool, 1)
        assert isinstance(found[1], Failed)
        assert found[1].cause == "time-limit"
        found = await collect(pool, 1)

        assert isinstance(found[2], Failed)
        assert found[2].cause in {"raised", "worker-lost"}
        assert "in _doing" in caplog.text
        assert isinstance((await feed(pool, [request(9)]))[9], Succeeded)


class TestEventletPool(Green, Contract):
    """What differs between the two libraries; the rest is one code, which the other class asks."""

    kind = "eventlet"

    async def test_limits_and_cancelling_reach_functions_and_coroutines(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=10)
        await pool.submit(
            [
                request(1, "patient", gate.body, soft=0.2),
                request(2, "apatient", gate.body, soft=0.2),
                request(3, "hold", gate.body, hard=0.2),
                request(4, "ahold", gate.body, hard=0.2),
                request(5, "hold", gate.body),
                request(6, "ahold", gate.body),
            ]
        )
        await gate.reached(6)

        await pool.cancel([5, 6], signal="TERM")
        found = await collect(pool, 6)

        assert [type(found[key]) for key in (1, 2)] == [Succeeded] * 2
        assert [type(found[key]) for key in (3, 4)] == [Failed] * 2
        assert [type(found[key]) for key in (5, 6)] == [Revoked] * 2


async def test_nobody_is_left_when_the_pool_has_stopped(family: Family) -> None:
    skip_without("gevent")
    pool = GreenPool(ContractRunner, 2, kind="gevent")
    await pool.start()
    [child] = family()

    assert await pool.stop(grace=1) == []

    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
