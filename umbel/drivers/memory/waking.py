"""Waking coroutines that wait, on whichever loop and in whichever thread they do."""

from __future__ import annotations

import asyncio

from umbel.protocols import Clock

__all__ = ["Sleeper"]


class Sleeper:
    """One coroutine that waits; made on its loop, woken from anywhere."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """End the wait. Safe to call from any thread, and again."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._end()
            return
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:
            # Its loop is closed: nobody waits there any more.
            return

    async def rest(self) -> None:
        """Wait until woken."""
        await self._future

    async def sleep(self, clock: Clock, until: float) -> None:
        """Wait until woken, or until a moment on the monotonic clock."""
        # The clock is the only one that knows when that is; a task group would raise what
        # ends it, and its context costs as much as the wait.
        timer = self._loop.create_task(_sleep(clock, until))
        timer.add_done_callback(self._timed_out)
        try:
            await self._future
        finally:
            timer.cancel()

    def _timed_out(self, timer: asyncio.Task[None]) -> None:
        if not timer.cancelled():
            timer.result()
        self._end()

    def _end(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


async def _sleep(clock: Clock, until: float) -> None:
    # The difference is taken here: time may have passed before this task came to run.
    await clock.sleep(max(until - clock.monotonic(), 0.0))
