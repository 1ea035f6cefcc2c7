"""Children and zygotes that die, or do not come up: what becomes of the tasks, and of the pool."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.measured import SECOND, measured
from umbel.model import Failed, Outcome, Request, Succeeded
from umbel.pools.prefork import PreforkPool
from umbel.protocols import Interrupts
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    collect,
    feed,
    request,
)

from .prefork import Family, Forked, renewed, runs, until


class TestDeaths(Forked):
    @pytest.mark.parametrize(
        ("task", "reason"), [("die", "exit code 7"), ("kill", "signal 9 (SIGKILL)")]
    )
    async def test_a_request_that_ends_its_process_fails_alone(
        self, make_pool: MakePool, task: str, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(0)])

        found = await feed(pool, [request(1, task), request(2), request(3)])

        failure = found[1]
        assert isinstance(failure, Failed)
        assert (failure.cause, failure.reason) == ("worker-lost", reason)
        assert isinstance(found[2], Succeeded)
        assert isinstance(found[3], Succeeded)
        assert f"exited with '{reason}'" in caplog.text

    async def test_what_a_dead_child_had_not_started_runs_in_another(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner, size=1)
        await feed(pool, [request(key) for key in range(100)])
        assert pool.free > 20

        await pool.submit([request(1000, "kill"), *(request(key) for key in range(20))])
        found = await collect(pool, 21)

        assert isinstance(found[1000], Failed)
        assert all(isinstance(found[key], Succeeded) for key in range(20))

    @measured
    async def test_a_dead_child_is_replaced_within_a_second(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        assert isinstance(pool, PreforkPool)
        before = pool.pids
        assert len(before) == 2

        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(SECOND):
            await until(partial(renewed, pool, before[:1]))
        await pool.submit([request(key, "hold", gate.body) for key in range(2)])
        await gate.reached(2)
        gate.open()

        assert len(await collect(pool, 2)) == 2

    async def test_nothing_is_lost_or_doubled_while_children_are_killed(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        assert isinstance(pool, PreforkPool)
        kills = 0

        async def kill() -> None:
            nonlocal kills
            while True:
                await asyncio.sleep(0.05)
                for pid in pool.pids[:1]:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1

        killing = asyncio.create_task(kill())
        requests = [
            request(key, "busy", b"0.0005") if key % 5 else request(key) for key in range(6000)
        ]
        found = await feed(pool, requests)
        killing.cancel()

        assert len(found) == 6000
        failed = [outcome for outcome in found.values() if isinstance(outcome, Failed)]
        assert all(outcome.cause == "worker-lost" for outcome in failed)
        assert kills > 5
        assert len(failed) < kills * 20

    async def test_a_crash_of_the_interpreter_is_told_with_its_stack(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Crashing(ContractRunner):
            def run(self, request: Request) -> Outcome:
                os.kill(os.getpid(), signal.SIGSEGV)
                return super().run(request)

        pool = await make_pool(Crashing)

        await pool.submit([request(1)])
        found = await collect(pool, 1)

        assert isinstance(found[1], Failed)
        assert found[1].reason == "signal 11 (SIGSEGV)"
        assert "Fatal Python error: Segmentation fault" in caplog.text
        assert "test_prefork_deaths.py" in caplog.text

    async def test_a_child_that_does_not_come_up_is_killed_and_the_next_has_longer(
        self, make_pool: Callable[..., object], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        flag = tmp_path / "flag"

        class Slow(ContractRunner):
            def open(self, interrupts: Interrupts) -> None:
                if not flag.exists():
                    flag.touch()
                    time.sleep(60)
                super().open(interrupts)

        pool = await make_pool(Slow, alive_timeout=0.5)  # type: ignore[misc]
        found = await feed(pool, [request(1)])

        assert isinstance(found[1], Succeeded)
        assert "Timed out waiting for UP message from process 'ForkPoolWorker-1'" in caplog.text

    async def test_a_child_that_cannot_start_says_why(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Closed(ContractRunner):
            def open(self, interrupts: Interrupts) -> None:
                raise ConnectionRefusedError("no database")

        await make_pool(Closed)
        await until(lambda: "Children die as soon as" in caplog.text)

        assert "exit code 1: ConnectionRefusedError('no database')" in caplog.text

    async def test_children_that_cannot_start_are_not_started_for_ever(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Closed(ContractRunner):
            def open(self, interrupts: Interrupts) -> None:
                raise ConnectionRefusedError("no database")

        pool = await make_pool(Closed)
        await pool.submit([request(1)])
        await until(lambda: caplog.text.count("Children die as soon as") >= 2)
        returned = await pool.stop(grace=0)

        assert [one.key for one in returned] == [1]
        assert caplog.text.count("exited with") < 10

    async def test_a_killed_zygote_is_replaced(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        assert isinstance(pool, PreforkPool)
        for round_ in range(3):
            await feed(pool, [request(key) for key in range(10)])
            before = pool.pids
            zygote = psutil.Process(before[0]).ppid()
            assert zygote != os.getpid()

            os.kill(zygote, signal.SIGKILL)
            await until(partial(renewed, pool, before))
            found = await feed(pool, [request(key) for key in range(10)])

            assert all(isinstance(one, Succeeded) for one in found.values()), round_
        assert "zygote' is gone; 1 left" in caplog.text

    async def test_a_pool_without_zygotes_says_so(
        self, make_pool: MakePool, family: Family, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)

        for zygote in family():
            if zygote.ppid() == os.getpid():
                zygote.kill()

        with pytest.raises(RuntimeError, match="both zygotes are gone"):
            await collect(pool, 1)


PROGRAM = """
import asyncio, sys
from umbel.pools.prefork import PreforkPool
from umbel.testing.conformance.pool import ContractRunner, request

class Deaf(ContractRunner):
    def run(self, request):
        if request.task == "deaf":
            open(request.message.body, "w").close()
            sum(range(10**13))  # never lets another thread run
        return super().run(request)

async def main():
    await pool.start()
    await pool.submit([request(1, "hold", sys.argv[1].encode())])
    await pool.submit([request(2, "deaf", sys.argv[2].encode())])
    await pool.outcomes()

pool = PreforkPool(Deaf, 3)
pool.prepare()
asyncio.run(main())
"""


@measured
async def test_nobody_outlives_a_killed_parent_by_a_second(tmp_path: Path) -> None:
    gate, deaf = Gate(tmp_path / "gate"), tmp_path / "deaf"
    arguments = [sys.executable, "-c", PROGRAM, str(gate.path), str(deaf)]
    with subprocess.Popen(arguments) as parent:  # noqa: ASYNC220 - returns at once
        await gate.reached(1)
        await until(deaf.exists)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 5

        parent.kill()

        async with asyncio.timeout(SECOND):
            await until(lambda: not any(runs(process.pid) for process in family))
