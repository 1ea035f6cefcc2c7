"""The thread pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from umbel.model import Outcome, Request
from umbel.pools.crew import Crew
from umbel.pools.grace import unwatched, within
from umbel.pools.interrupts import ThreadInterrupts
from umbel.pools.outbox import Outbox
from umbel.protocols import Runner, Running

__all__ = ["ThreadPool"]


class ThreadPool:
    """Runs requests in threads of the worker's process.

    A soft time limit is an exception that the thread gets at its next line of Python, so not
    while it waits in a system call. After a hard one, or :meth:`cancel` with a signal, the task
    is asked in the same way to end; a thread cannot be killed.
    """

    def __init__(self, make_runner: Callable[[], Runner], size: int) -> None:
        self._make_runner = make_runner
        self._size = size
        self._outbox = Outbox()
        self._runner: Runner | None = None
        self._crew: Crew | None = None
        self._stopping = False
        self._unfinished: list[Request] = []
        self._room_changed: Callable[[], None] = unwatched

    @property
    def size(self) -> int:
        """How many threads run requests."""
        return self._size

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        crew = self._crew
        if crew is None or self._stopping:
            return 0
        return max(0, crew.size * crew.pace.ahead - crew.held)

    def prepare(self) -> None:
        """Nothing to fork."""

    async def start(self) -> None:
        """Open the runner; threads are started as requests come."""
        runner = self._runner = self._make_runner()
        interrupts = ThreadInterrupts()
        runner.open(interrupts)
        loop = asyncio.get_running_loop()
        self._crew = Crew(runner, self._size, self._outbox, loop, interrupts)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Queue the requests for the next free threads."""
        assert self._crew is not None, "start() comes first"
        self._crew.add(requests)

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What threads have started and not finished."""
        return [] if self._crew is None else self._crew.running()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started: those of ``keys``, or all."""
        return [] if self._crew is None else self._crew.withdraw(keys)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the pool has been resized."""
        self._room_changed = changed

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that have not started; with any ``signal``, raise ``TaskCancelled``
        inside those that have."""
        if self._crew is not None:
            self._crew.cancel(keys, running=signal is not None)

    async def resize(self, size: int) -> None:
        """Grow or shrink; a busy thread goes when its task is done."""
        self._size = size
        if self._crew is not None:
            self._crew.resize(size)
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Nothing to do: there are no processes."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Wait ``grace`` seconds for what runs; what runs longer is left to itself, unheard.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        if self._crew is None or self._runner is None:
            self._outbox.close()
            return []
        self._unfinished += self._crew.withdraw()
        try:
            async with within(grace):
                await self._crew.finished()
        except TimeoutError:
            self._unfinished += self._crew.abandon()
        self._crew.end()
        self._runner.close()
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished
