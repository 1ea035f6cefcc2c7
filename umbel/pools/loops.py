"""The asyncio pool: coroutines by the thousand on the worker's loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.coroutines import within_limits
from umbel.pools.crew import Crew
from umbel.pools.grace import unwatched, within
from umbel.pools.interrupts import ThreadInterrupts
from umbel.pools.limits import is_limited
from umbel.pools.outbox import Outbox
from umbel.pools.verdicts import broken, cancelled, overdue
from umbel.protocols import Runner, Running

__all__ = ["AsyncioPool"]

_CLOCK = SystemClock()
_THREADS = 8
"""Threads for tasks that are not coroutines; started when there are any."""
_PATIENCE = 1.0
"""Seconds a cancelled coroutine has to end."""


class AsyncioPool:
    """Runs coroutine tasks on the running loop, and all others in a few threads beside it.

    Time limits and :meth:`cancel` with a signal end coroutines where they wait; for threads see
    :class:`umbel.pools.threads.ThreadPool`.
    """

    def __init__(
        self, make_runner: Callable[[], Runner], size: int = 1000, *, threads: int = _THREADS
    ) -> None:
        self._make_runner = make_runner
        self._size = size
        self._threads = threads
        self._running: dict[int, tuple[Request, asyncio.Task[None] | None]] = {}
        self._since: dict[int, float] = {}
        self._outbox = Outbox()
        self._crew: Crew | None = None
        self._runner: Runner | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False
        self._unfinished: list[Request] = []
        self._room_changed: Callable[[], None] = unwatched

    @property
    def size(self) -> int:
        """How many coroutines run at once."""
        return self._size

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        if self._stopping or self._crew is None:
            return 0
        return max(0, self._size - len(self._running) - self._crew.held)

    def prepare(self) -> None:
        """Nothing to fork."""

    async def start(self) -> None:
        """Open the runner."""
        runner = self._runner = self._make_runner()
        interrupts = ThreadInterrupts()
        runner.open(interrupts)
        loop = asyncio.get_running_loop()
        self._crew = Crew(runner, self._threads, self._outbox, loop, interrupts)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Start the requests; those that are not coroutines queue for a thread."""
        assert self._runner is not None, "start() comes first"
        assert self._crew is not None, "start() comes first"
        blocking: list[Request] = []
        is_async = self._runner.is_async
        for request in requests:
            if is_async(request):
                self._start(self._runner, request)
            else:
                blocking.append(request)
        if blocking:
            self._crew.add(blocking)

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What has been started and not finished."""
        pid = os.getpid()
        coroutines = [
            Running(key, since, pid) for key, since in self._since.items() if key in self._running
        ]
        return coroutines if self._crew is None else coroutines + self._crew.running()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that wait for a thread: those of ``keys``, or all."""
        return [] if self._crew is None else self._crew.withdraw(keys)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the pool has been resized."""
        self._room_changed = changed

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop what waits for a thread; with any ``signal``, cancel coroutines, and raise
        ``TaskCancelled`` inside functions."""
        if signal is not None:
            for key in keys:
                entry = self._running.get(key)
                if entry is not None and entry[1] is not None:
                    entry[1].cancel()
        if self._crew is not None:
            self._crew.cancel(keys, running=signal is not None)

    async def resize(self, size: int) -> None:
        """Change how many may run at once; what runs goes on."""
        self._size = size
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Nothing to do: there are no processes."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Wait ``grace`` seconds for what runs, then cancel it.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        if self._crew is None or self._runner is None:
            self._outbox.close()
            return []
        self._unfinished += self._crew.withdraw()
        try:
            async with within(grace):
                await self._empty.wait()
                await self._crew.finished()
        except TimeoutError:
            self._unfinished += self._crew.abandon()
            await self._abandon()
        self._crew.end()
        self._runner.close()
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    async def _abandon(self) -> None:
        """Cancel every coroutine and see it end; their requests get no outcome."""
        entries = list(self._running.values())
        self._running.clear()
        self._unfinished += [request for request, _ in entries]
        tasks = [task for _, task in entries if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            # A coroutine that will not be cancelled must not keep the worker from ending.
            await asyncio.wait(tasks, timeout=_PATIENCE)

    def _start(self, runner: Runner, request: Request) -> None:
        self._running[request.key] = (request, None)
        self._empty.clear()
        task = _task(self._run(runner, request))
        # An eager one may have ended before this line.
        if request.key in self._running:
            self._running[request.key] = (request, task)

    async def _run(self, runner: Runner, request: Request) -> None:
        started = self._since[request.key] = _CLOCK.monotonic()
        outcome: Outcome
        try:
            run = runner.arun(request)
            if is_limited(request):
                run = within_limits(run, request, self._overrun)
            outcome = await run
        except asyncio.CancelledError:
            outcome = cancelled(request, runtime=_CLOCK.monotonic() - started)
        except BaseException as error:  # noqa: BLE001 - the pool outlives a runner's bug, whatever it raises
            outcome = broken(request, error)
        del self._since[request.key]
        # Gone: stop has given the request back, or its time was over.
        if self._running.pop(request.key, None) is not None:
            self._outbox.put((outcome,))
            if not self._running:
                self._empty.set()

    def _overrun(self, request: Request) -> None:
        """The hard time limit is over: the outcome is known, whatever the coroutine does."""
        _, task = self._running.pop(request.key, (None, None))
        if task is None:
            return
        self._outbox.put((overdue(request, runtime=request.time_limit or 0.0),))
        task.cancel()
        if not self._running:
            self._empty.set()


if sys.version_info >= (3, 12):

    def _task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Eager: a coroutine that never waits never costs a turn of the loop. The task is the
        # current one from its first step and has its own context, as any other.
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)

else:

    def _task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Stepping a coroutine by hand first would be cheaper, but it would run in the caller's
        # context and task, which asyncio.timeout and every task group look at.
        return asyncio.create_task(coroutine)
