"""The prefork pool against the contract, and what only processes can do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import psutil
import pytest

from umbel.model import Failed, Message, Outcome, Request, Revoked, Succeeded
from umbel.pools.prefork import PreforkPool
from umbel.protocols import Interrupts, Runner
from umbel.testing.conformance.limits import LimitsContract
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    PoolContract,
    collect,
    feed,
    request,
)

_PATIENCE = 20.0


async def until(claim: Callable[[], bool]) -> None:
    """Wait for the claim to become true."""
    async with asyncio.timeout(_PATIENCE):
        while not claim():  # noqa: ASYNC110 - processes set no event
            await asyncio.sleep(0.005)


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def renewed(pool: PreforkPool, before: list[int]) -> bool:
    """Whether the pool is full again, without these processes."""
    return len(pool.pids) == pool.size and not set(before) & set(pool.pids)


def no_runner() -> Callable[[], Runner]:
    """Something that no other interpreter can import."""

    def make() -> Runner:
        return ContractRunner()

    return make


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return psutil.Process().num_fds()


class Prefork(PoolContract):
    processes = True
    start_method: Literal["fork", "spawn", "forkserver"] = "fork"

    @pytest.fixture
    async def make_pool(self) -> AsyncIterator[Callable[..., object]]:
        pools: list[PreforkPool] = []

        async def make(
            make_runner: Callable[[], Runner], *, size: int = 1, **options: int
        ) -> PreforkPool:
            pool = PreforkPool(
                make_runner,
                size,
                start_method=self.start_method,
                **options,  # type: ignore[arg-type]
            )
            pool.prepare()
            await pool.start()
            pools.append(pool)
            return pool

        yield make
        for pool in pools:
            await pool.stop(grace=0)


class TestPreforkPool(Prefork, LimitsContract):
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

    async def test_a_dead_child_is_replaced_within_a_second(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        assert isinstance(pool, PreforkPool)
        before = pool.pids
        assert len(before) == 2

        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(1):
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

    async def test_a_long_task_holds_nothing_behind_it(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key) for key in range(200)])
        assert pool.free > 100

        holding = request(1000, "hold", gate.body)
        await pool.submit([holding, *(request(key) for key in range(100))])
        found = await collect(pool, 100)
        gate.open()
        rest = await collect(pool, 1)

        assert set(found) == set(range(100))
        assert set(rest) == {1000}

    async def test_what_has_finished_does_not_wait_for_a_long_task(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=1)
        await feed(pool, [request(key) for key in range(200)])

        await pool.submit([request(1), request(2), request(3, "hold", gate.body), request(4)])
        found = await collect(pool, 2)
        gate.open()
        rest = await collect(pool, 2)

        assert set(found) == {1, 2}
        assert set(rest) == {3, 4}

    async def test_long_tasks_go_to_idle_children_only(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key, "busy", b"0.03") for key in range(4)])

        assert pool.free == 2
        await pool.submit([request(10, "hold", gate.body)])
        await gate.reached(1)
        assert pool.free == 1
        await pool.submit([request(11, "hold", gate.body)])
        await gate.reached(2)
        assert pool.free == 0
        gate.open()

        assert len(await collect(pool, 2)) == 2

    async def test_prefetch_bounds_what_a_child_holds(
        self, make_pool: Callable[..., object]
    ) -> None:
        pool = await make_pool(ContractRunner, size=2, prefetch=3)  # type: ignore[misc]
        await feed(pool, [request(key) for key in range(500)])

        assert pool.free == 6

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

    async def test_a_task_that_has_run_too_long_is_shown_before_it_is_killed(
        self, make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)

        await pool.submit([request(1, "spin", gate.body, hard=0.1)])
        found = await collect(pool, 1)

        assert isinstance(found[1], Failed)
        assert "running.py" in caplog.text
        assert "in _wait" in caplog.text

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
        assert "test_pools_prefork.py" in caplog.text

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

    async def test_processes_have_celerys_titles(self, make_pool: MakePool) -> None:
        pytest.importorskip("setproctitle")
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)

        child = psutil.Process(pool.pids[0])

        assert child.cmdline()[0] == "[celeryd: worker:ForkPoolWorker-1]"
        assert child.parent().cmdline()[0] == "[celeryd: worker:Zygote]"  # type: ignore[union-attr]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_a_signal_to_the_whole_group_ends_no_task(
        self, make_pool: MakePool, gate: Gate, number: signal.Signals
    ) -> None:
        pool = await make_pool(ContractRunner)
        assert isinstance(pool, PreforkPool)
        await pool.submit([request(1, "hold", gate.body)])
        await gate.reached(1)

        for process in psutil.Process().children(recursive=True):
            process.send_signal(number)
        gate.open()

        assert isinstance((await collect(pool, 1))[1], Succeeded)

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
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = await make_pool(ContractRunner)

        for zygote in psutil.Process().children():
            zygote.kill()

        with pytest.raises(RuntimeError, match="both zygotes are gone"):
            await collect(pool, 1)

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

    async def test_a_failed_outcome_names_what_could_not_be_encoded(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(1, "strange")])

        failure = found[1]
        assert isinstance(failure, Failed)
        assert failure.reason.startswith("cannot be encoded")
        assert "Unencodable" in failure.reason

    async def test_a_request_that_cannot_be_encoded_fails_alone(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        message = Message(id="x", body=b"", properties={"x": object()})

        await pool.submit([request(1), Request(key=2, id="x", task="echo", message=message)])
        found = await collect(pool, 2)

        assert isinstance(found[1], Succeeded)
        assert isinstance(found[2], Failed)

    async def test_stopping_leaves_no_process_and_no_descriptor(self, make_pool: MakePool) -> None:
        before = open_descriptors()
        pool = PreforkPool(ContractRunner, 3)
        pool.prepare()
        await pool.start()
        await feed(pool, [request(key) for key in range(10)])
        processes = psutil.Process().children(recursive=True)
        assert len(processes) == 5

        await pool.stop(grace=1)

        assert not any(runs(process.pid) for process in processes)
        assert open_descriptors() <= before

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

    async def test_start_without_prepare_is_refused(self) -> None:
        pool = PreforkPool(ContractRunner, 1)

        with pytest.raises(RuntimeError, match="before the event loop"):
            await pool.start()


class TestSpawnedPool(Prefork):
    start_method = "spawn"


class TestForkserverPool(Prefork):
    start_method = "forkserver"


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_a_runner_that_cannot_be_sent_is_refused(
    start_method: Literal["spawn", "forkserver"],
) -> None:
    with pytest.raises(ValueError, match="cannot be sent to another interpreter"):
        PreforkPool(no_runner(), 1, start_method=start_method).prepare()


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


async def test_nobody_outlives_a_killed_parent_by_a_second(tmp_path: Path) -> None:
    gate, deaf = Gate(tmp_path / "gate"), tmp_path / "deaf"
    arguments = [sys.executable, "-c", PROGRAM, str(gate.path), str(deaf)]
    with subprocess.Popen(arguments) as parent:  # noqa: ASYNC220 - returns at once
        await gate.reached(1)
        await until(deaf.exists)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 5

        parent.kill()

        async with asyncio.timeout(1):
            await until(lambda: not any(runs(process.pid) for process in family))
