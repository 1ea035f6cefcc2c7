"""The prefork pool against the contract, with each way to start a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import psutil
import pytest

from umbel.pools.prefork import PreforkPool
from umbel.protocols import Runner
from umbel.testing.conformance.limits import LimitsContract
from umbel.testing.conformance.pool import (
    ContractRunner,
    MakePool,
    PoolContract,
    feed,
    request,
)

from .prefork import Family, Forked, runs


def no_runner() -> Callable[[], Runner]:
    """Something that no other interpreter can import."""

    def make() -> Runner:
        return ContractRunner()

    return make


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return psutil.Process().num_fds()


class TestPreforkPool(Forked, PoolContract, LimitsContract):
    async def test_processes_have_celerys_titles(self, make_pool: MakePool) -> None:
        pytest.importorskip("setproctitle")
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)

        child = psutil.Process(pool.pids[0])

        assert child.cmdline()[0] == "[celeryd: worker:ForkPoolWorker-1]"
        assert child.parent().cmdline()[0] == "[celeryd: worker:Zygote]"  # type: ignore[union-attr]

    async def test_stopping_leaves_no_process_and_no_descriptor(self, family: Family) -> None:
        before = open_descriptors()
        pool = PreforkPool(ContractRunner, 3)
        pool.prepare()
        await pool.start()
        await feed(pool, [request(key) for key in range(10)])
        processes = family()

        await pool.stop(grace=1)

        assert len(processes) == 5
        assert not any(runs(process.pid) for process in processes)
        assert open_descriptors() <= before

    async def test_start_without_prepare_is_refused(self) -> None:
        pool = PreforkPool(ContractRunner, 1)

        with pytest.raises(RuntimeError, match="before the event loop"):
            await pool.start()


class TestSpawnedPool(Forked, PoolContract):
    start_method = "spawn"


class TestForkserverPool(Forked, PoolContract):
    start_method = "forkserver"


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_a_runner_that_cannot_be_sent_is_refused(
    start_method: Literal["spawn", "forkserver"],
) -> None:
    with pytest.raises(ValueError, match="cannot be sent to another interpreter"):
        PreforkPool(no_runner(), 1, start_method=start_method).prepare()
