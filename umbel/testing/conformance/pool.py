"""What every pool must pass.

A pool's test file is its fixture::

    class TestThreadPool(PoolContract):
        @pytest.fixture
        async def make_pool(self) -> AsyncIterator[MakePool]: ...

The requests that the suite submits are run by :class:`ContractRunner`, which knows no tasks
either: the request's task name says what to do, its body with what.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from umbel.model import Failed, Message, Outcome, Request, ResultRecord, Revoked, Succeeded
from umbel.protocols import Pool, Runner

__all__ = ["ContractRunner", "MakePool", "PoolContract", "collect", "request"]

_POLL = 0.002
_PATIENCE = 30.0


class MakePool(Protocol):
    """Makes a pool that is prepared and started; the fixture stops it when the test is over."""

    async def __call__(self, make_runner: Callable[[], Runner], *, size: int = 1) -> Pool: ...


def request(key: int, task: str = "echo", body: bytes = b"") -> Request:
    """A request that :class:`ContractRunner` understands."""
    id_ = f"id-{key}"
    return Request(key=key, id=id_, task=task, message=Message(id=id_, body=body))


async def collect(pool: Pool, count: int) -> dict[int, Outcome]:
    """Wait for ``count`` outcomes, by key; fails when one comes twice."""
    found: dict[int, Outcome] = {}
    async with asyncio.timeout(_PATIENCE):
        while len(found) < count:
            for outcome in await pool.outcomes():
                assert outcome.key not in found, f"a second outcome: {outcome!r}"
                found[outcome.key] = outcome
    return found


async def feed(pool: Pool, requests: Sequence[Request]) -> dict[int, Outcome]:
    """Submit as there is room, until everything has an outcome."""
    waiting = list(requests)
    found: dict[int, Outcome] = {}
    async with asyncio.timeout(_PATIENCE):
        while len(found) < len(requests):
            room = pool.free
            if room and waiting:
                await pool.submit(waiting[:room])
                del waiting[:room]
            for outcome in await pool.outcomes():
                assert outcome.key not in found, f"a second outcome: {outcome!r}"
                found[outcome.key] = outcome
    return found


class Unencodable:
    """Nothing can write it."""


class ContractRunner:
    """Does what a request's task name says.

    =============  ==========================================================================
    ``echo``       succeeds with the body
    ``large``      succeeds with as many bytes as the body says
    ``raise``      raises, as a runner never should
    ``exit``       raises ``SystemExit``
    ``strange``    gives an outcome that cannot be encoded
    ``hold``       appends its id to ``<body>.started``, waits for the file ``<body>``
    ``ahold``      the same as a coroutine
    ``acancel``    a coroutine that waits for ever
    ``busy``       takes as many seconds as the body says
    ``die``        ends its process with ``os._exit``
    ``kill``       ends its process with SIGKILL
    ``pid``        succeeds with its process's id
    =============  ==========================================================================
    """

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def is_async(self, request: Request) -> bool:
        """Tasks whose names begin with ``a`` are coroutines."""
        return request.task.startswith("a")

    def run(self, request: Request) -> Outcome:
        """Do it, here and now."""
        if self.is_async(request):
            return asyncio.run(self.arun(request))
        body = request.message.body
        match request.task:
            case "large":
                body = bytes(int(body))
            case "raise":
                raise RuntimeError("a bug in the runner")
            case "exit":
                sys.exit(3)
            case "strange":
                return _strange(request)
            case "hold":
                gate = _announce(request)
                while not gate.exists():
                    time.sleep(_POLL)
            case "busy":
                time.sleep(float(body))
            case "die":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "pid":
                body = str(os.getpid()).encode()
            case _:
                pass
        return _succeeded(request, body)

    async def arun(self, request: Request) -> Outcome:
        """Do it, letting the loop run where it waits."""
        match request.task:
            case "ahold":
                gate = _announce(request)
                while not gate.exists():  # noqa: ASYNC110 - a file sets no event
                    await asyncio.sleep(_POLL)
            case "acancel":
                _announce(request)
                await asyncio.Event().wait()
            case "aecho":
                pass
            case _:
                return self.run(request)
        return _succeeded(request, request.message.body)


def _succeeded(request: Request, body: bytes) -> Succeeded:
    record = ResultRecord(id=request.id, state="SUCCESS", body=body)
    return Succeeded(key=request.key, runtime=0.0, record=record)


def _strange(request: Request) -> Succeeded:
    message = Message(id="x", body=b"", properties={"x": Unencodable()})
    return Succeeded(key=request.key, runtime=0.0, record=None, follow_ups=(message,))


def _announce(request: Request) -> Path:
    gate = Path(request.message.body.decode())
    with gate.with_name(gate.name + ".started").open("a") as file:
        file.write(f"{request.key}\n")
    return gate


class Gate:
    """A file that requests wait for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body = str(path).encode()

    def started(self) -> list[int]:
        """The keys of the requests that have begun to wait, in order."""
        record = self.path.with_name(self.path.name + ".started")
        return [int(line) for line in record.read_text().split()] if record.exists() else []

    async def reached(self, count: int) -> list[int]:
        """Wait until ``count`` requests have begun to wait."""
        async with asyncio.timeout(_PATIENCE):
            while len(found := self.started()) < count:  # noqa: ASYNC110 - a file sets no event
                await asyncio.sleep(_POLL)
        return found

    def open(self) -> None:
        """Let them go on."""
        self.path.touch()


class PoolContract:
    """Every submitted request yields exactly one outcome, whatever becomes of it."""

    concurrent = True
    """Whether ``size`` can be more than one."""
    processes = False
    """Whether tasks run in processes of their own, which may die without the worker dying."""
    hold = "hold"
    """The waiting task: ``ahold`` where one that is not a coroutine would stop the test too."""

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Gate:
        """What the waiting task waits for."""
        return Gate(tmp_path / "gate")

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

        [running] = pool.running()
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
        async with asyncio.timeout(_PATIENCE):
            while submitted < 3:
                if pool.free:
                    await pool.submit([request(submitted, self.hold, gate.body)])
                    submitted += 1
                await asyncio.sleep(_POLL)
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
            stopping = group.create_task(pool.stop(grace=_PATIENCE))
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

        async with asyncio.timeout(5):
            assert await pool.stop(grace=float("inf")) == []


async def _soon(call: Callable[[], None]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    call()
