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
from umbel.pools.crewed import CrewedPool
from umbel.pools.limits import is_limited
from umbel.pools.verdicts import broken, cancelled, overdue
from umbel.protocols import Runner, Running

__all__ = ["AsyncioPool"]

_CLOCK = SystemClock()
_THREADS = 8
"""Threads for tasks that are not coroutines; started when there are any."""
_PATIENCE = 1.0
"""Seconds a cancelled coroutine has to end."""


class AsyncioPool(CrewedPool):
    """Runs coroutine tasks on the running loop, and all others in a few threads beside it.

    Time limits and :meth:`cancel` with a signal end coroutines where they wait; for threads see
    :class:`umbel.pools.threads.ThreadPool`.
    """

    def __init__(
        self, make_runner: Callable[[], Runner], size: int = 1000, *, threads: int = _THREADS
    ) -> None:
        super().__init__(make_runner, size, threads=threads)
        self._running: dict[int, tuple[Request, asyncio.Task[None] | None]] = {}
        self._since: dict[int, float] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        if self._stopping or self._crew is None:
            return 0
        return max(0, self._size - len(self._running) - self._crew.held)

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

    def running(self) -> list[Running]:
        """What has been started and not finished."""
        pid = os.getpid()
        coroutines = [
            Running(key, since, pid) for key, since in self._since.items() if key in self._running
        ]
        return coroutines + super().running()

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop what waits for a thread; with any ``signal``, cancel coroutines, and raise
        ``TaskCancelled`` inside functions."""
        if signal is not None:
            for key in keys:
                entry = self._running.get(key)
                if entry is not None and entry[1] is not None:
                    entry[1].cancel()
        await super().cancel(keys, signal=signal)

    async def _finished(self, crew: Crew) -> None:
        await self._empty.wait()
        await crew.finished()

    async def _abandon(self, crew: Crew) -> None:
        """Cancel every coroutine and see it end."""
        await super()._abandon(crew)
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
