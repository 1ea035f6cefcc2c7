"""What pools have in common that have a crew of threads in the worker's process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from umbel.model import Outcome, Request
from umbel.pools.crew import Crew
from umbel.pools.grace import unwatched, within
from umbel.pools.interrupts import ThreadInterrupts
from umbel.pools.outbox import Outbox
from umbel.protocols import Runner, Running

__all__ = ["CrewedPool"]


class CrewedPool:
    """One runner, and threads that run with it. Subclasses say who gets which request, and for
    how many more there is room."""

    def __init__(self, make_runner: Callable[[], Runner], size: int, *, threads: int) -> None:
        self._make_runner = make_runner
        self._size = size
        self._threads = threads
        self._outbox = Outbox()
        self._runner: Runner | None = None
        self._crew: Crew | None = None
        self._stopping = False
        self._unfinished: list[Request] = []
        self._room_changed: Callable[[], None] = unwatched

    @property
    def size(self) -> int:
        """How many requests run at once."""
        return self._size

    def prepare(self) -> None:
        """Nothing to fork."""

    async def start(self) -> None:
        """Open the runner; threads are started as requests come."""
        runner = self._runner = self._make_runner()
        interrupts = ThreadInterrupts()
        runner.open(interrupts)
        loop = asyncio.get_running_loop()
        self._crew = Crew(runner, self._threads, self._outbox, loop, interrupts)

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What threads have started and not finished."""
        return [] if self._crew is None else self._crew.running()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that wait for a thread: those of ``keys``, or all."""
        return [] if self._crew is None else self._crew.withdraw(keys)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the pool has been resized."""
        self._room_changed = changed

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that wait for a thread; with any ``signal``, raise ``TaskCancelled``
        inside those that have started."""
        if self._crew is not None:
            self._crew.cancel(keys, running=signal is not None)

    async def resize(self, size: int) -> None:
        """Change how many may run at once; what runs goes on."""
        self._size = size
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Nothing to do: there are no processes."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Wait ``grace`` seconds for what runs; coroutines that run longer are cancelled, threads
        are left to themselves, unheard.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        if self._crew is None or self._runner is None:
            self._outbox.close()
            return []
        self._unfinished += self._crew.withdraw()
        try:
            async with within(grace):
                await self._finished(self._crew)
        except TimeoutError:
            await self._abandon(self._crew)
        self._crew.end()
        self._runner.close()
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    async def _finished(self, crew: Crew) -> None:
        """Wait until nothing runs."""
        await crew.finished()

    async def _abandon(self, crew: Crew) -> None:
        """Give up what runs: its requests are unfinished, and get no outcome."""
        self._unfinished += crew.abandon()
