"""What waits in a worker for too long goes back to the broker, and stays there. Time is moved by
hand: nothing here depends on how fast the machine is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.clock import ManualClock
from umbel.model import QueueStats
from umbel.worker import Worker

PATIENCE = 0.15
"""The worker's: seconds that something may wait in it."""


class Bench:
    """An app with a task that does nothing, and one that takes as long as the test likes."""

    def __init__(self, url: str, *, acks_late: bool) -> None:
        self.clock = ManualClock()
        self.app = Umbel("test", broker=url, backend=url, set_as_current=False, clock=self.clock)
        self.running: list[int] = []
        self.takes = 0.0
        self.may_end = threading.Semaphore(0)
        self.short = self.app.task(name="short", acks_late=acks_late)(self._short)
        self.long = self.app.task(name="long", acks_late=acks_late)(self._long)

    def _short(self, number: int) -> int:
        return number

    def _long(self, number: int) -> int:
        self.running.append(number)
        assert self.may_end.acquire(timeout=20)
        time.sleep(self.takes)
        return number

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker with one slot that has reason to expect short tasks."""
        async with (
            asyncio.timeout(100),
            Worker(self.app, pool="threads", concurrency=1, quiet=True) as worker,
        ):
            await self.short.adelay(0)
            await worker.settled(1)
            yield worker

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a thread."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        await self.calm()

    async def calm(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.calm()

    async def stats(self) -> QueueStats:
        broker = await self.app.connections.broker()
        return (await broker.stats(["celery"]))["celery"]


@pytest.fixture(params=["early", "late"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(f"memory://{tmp_path}", acks_late=request.param == "late")
    yield bench
    await bench.app.aclose()


async def test_what_waits_behind_a_long_task_goes_back_and_is_not_taken_again(
    bench: Bench,
) -> None:
    async with bench.working() as worker:
        await bench.long.adelay(1)
        await bench.until(lambda: bench.running == [1])
        for number in range(6):
            await bench.short.adelay(number)
            await bench.calm()
        assert (await bench.stats()).leased > 1, "some were fetched, in the hope of a short wait"

        await bench.pass_time(2 * PATIENCE)
        for _ in range(20):
            assert await bench.stats() == QueueStats(ready=6, leased=1)
            await bench.pass_time(PATIENCE)

        bench.may_end.release()
        await worker.settled(8)


async def test_it_is_not_taken_again_the_next_time_either(bench: Bench) -> None:
    async with bench.working() as worker:
        for place in range(1, 6):
            await bench.long.adelay(place)
            await bench.until(lambda: len(bench.running) == place)  # noqa: B023
            for number in range(6):
                await bench.short.adelay(number)
                await bench.calm()
            for _ in range(3):
                await bench.pass_time(PATIENCE)

            assert await bench.stats() == QueueStats(ready=6, leased=1)

            bench.may_end.release()
            await worker.settled(1 + 7 * place)


async def test_a_backlog_goes_back_although_its_tasks_end_one_after_the_other(
    bench: Bench,
) -> None:
    # What the pool measures is real time: from this on it fetches nothing ahead.
    bench.takes = 0.05
    async with bench.working() as worker:
        for number in range(10):
            await bench.long.adelay(number)
            await bench.calm()
        for ended in range(1, 4):
            bench.may_end.release()
            await bench.until(lambda: len(bench.running) == ended + 1)  # noqa: B023
            await bench.pass_time(PATIENCE)

        assert await bench.stats() == QueueStats(ready=6, leased=1)

        bench.may_end.release(7)
        await worker.settled(11)
        assert bench.running == list(range(10))


async def test_free_slots_are_filled_while_another_is_busy_for_long(tmp_path: Path) -> None:
    bench = Bench(f"memory://{tmp_path}", acks_late=False)
    async with (
        asyncio.timeout(100),
        Worker(bench.app, pool="threads", concurrency=2, quiet=True) as worker,
    ):
        await bench.long.adelay(1)
        await bench.until(lambda: bench.running == [1])
        for _ in range(3):
            await bench.pass_time(PATIENCE)

        for number in range(20):
            await bench.short.adelay(number)
        await worker.settled(20)
        bench.may_end.release()
    await bench.app.aclose()


async def test_a_worker_whose_slots_are_busy_does_not_take_itself_for_stalled(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.working() as worker:
        await bench.long.adelay(1)
        await bench.until(lambda: bench.running == [1])
        for number in range(6):
            await bench.short.adelay(number)
            await bench.calm()

        # Long enough for a worker that has free slots to connect anew, and to give up.
        for _ in range(100):
            await bench.pass_time(3.0)
        assert await bench.stats() == QueueStats(ready=6, leased=1)

        bench.may_end.release()
        await worker.settled(8)
        assert "slots are free" not in caplog.text
