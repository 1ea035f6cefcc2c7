"""Children that are replaced while nothing is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import psutil
import pytest

from umbel.model import Outcome, Request, Succeeded
from umbel.pools.prefork import PreforkPool
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    collect,
    feed,
    request,
)

from .prefork import Forked, renewed, until


class TestRecycling(Forked):
    @pytest.mark.parametrize("tasks", [1, 7])
    async def test_recycling_children_loses_nothing(
        self, make_pool: Callable[..., object], tasks: int
    ) -> None:
        pool = await make_pool(ContractRunner, size=2, max_tasks_per_child=tasks)  # type: ignore[misc]

        found = await feed(pool, [request(key, "pid") for key in range(100)])

        by_pid: dict[bytes, int] = {}
        for outcome in found.values():
            assert isinstance(outcome, Succeeded)
            assert outcome.record is not None
            by_pid[outcome.record.body] = by_pid.get(outcome.record.body, 0) + 1
        assert max(by_pid.values()) == tasks
        assert len(by_pid) >= 100 / tasks

    async def test_a_child_that_grows_too_large_is_replaced_and_loses_nothing(
        self, make_pool: Callable[..., object], caplog: pytest.LogCaptureFixture
    ) -> None:
        class Growing(ContractRunner):
            kept: ClassVar[list[bytes]] = []

            def run(self, request: Request) -> Outcome:
                if request.key % 10 == 9:
                    self.kept.append(b"x" * 40_000_000)
                return super().run(request)

        limit = psutil.Process().memory_info().rss // 1024 + 50_000
        pool = await make_pool(Growing, size=2, max_memory_per_child=limit)  # type: ignore[misc]

        found = await feed(pool, [request(key, "pid") for key in range(100)])

        pids = {one.record.body for one in found.values()}  # type: ignore[union-attr]
        assert len(pids) > 2
        assert f"KiB / {limit}KiB)" in caplog.text
        assert "exited with 'exit code 0'" not in caplog.text

    async def test_restarting_replaces_every_child(self, make_pool: MakePool, gate: Gate) -> None:
        pool = await make_pool(ContractRunner, size=2)
        assert isinstance(pool, PreforkPool)
        before = pool.pids
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)

        await pool.restart()
        await until(lambda: sum(pid not in before for pid in pool.pids) == 2)
        gate.open()
        found = await collect(pool, 1)
        await until(partial(renewed, pool, before))

        assert isinstance(found[1], Succeeded)
