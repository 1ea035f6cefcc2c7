"""Time, as a parameter: the system's clock, and one for tests that is moved by hand; and the
logical clock that orders what happens on many machines.

Nothing else in ``umbel`` reads a clock.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["LamportClock", "ManualClock", "SystemClock"]


class SystemClock:
    """The clock of the machine."""

    # Without a call of ours in between: it is read several times per task.
    monotonic = staticmethod(time.monotonic)
    """Seconds that never go back."""

    def now(self) -> datetime:
        """Wall time, timezone-aware, UTC."""
        return datetime.now(UTC)

    def time(self) -> float:
        """Wall time as Unix seconds; cheaper than :meth:`now`."""
        return time.time()

    def uptime(self) -> float:
        """Seconds of the machine: the same in every process, begun anew when it is started."""
        return time.monotonic() - _ahead()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        # asyncio costs 40 ms to import; a program that only defines tasks never needs it.
        import asyncio

        await asyncio.sleep(seconds)


@cache
def _ahead() -> float:
    """By how many seconds our monotonic clock is ahead of the machine's own. A container may have
    a time namespace, whose clock is another one; elsewhere all processes have the same.

    Source:
        time_namespaces(7); Python's documentation of ``time.monotonic``: "always system-wide".
    """
    try:
        # pathlib would cost every program 4 ms of import.
        with open("/proc/self/timens_offsets", encoding="ascii") as offsets:  # noqa: PTH123
            for clock, seconds, nanoseconds in map(str.split, offsets):
                if clock == "monotonic":
                    return int(seconds) + int(nanoseconds) / 1e9
    except (OSError, ValueError):
        # No such file on other systems, and on a Linux that has no such namespaces.
        return 0.0
    return 0.0


class ManualClock:
    """A clock that stands still until :meth:`advance` moves it; wakes its sleepers in order.

    Another one is another machine, or the same after it has been started anew.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Wall time, timezone-aware, UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def time(self) -> float:
        """Wall time as Unix seconds."""
        return self._start.timestamp() + self._elapsed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def uptime(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def set(self, now: datetime) -> None:
        """Change the wall time, as somebody who corrects it: forward or back, and nobody wakes."""
        self._start = now - timedelta(seconds=self._elapsed)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by ``seconds``."""
        # See SystemClock.sleep.
        import asyncio

        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move the clock, waking everyone whose time comes, earliest first."""
        # See SystemClock.sleep.
        import asyncio

        target = self._elapsed + seconds
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= target]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self._elapsed = max(self._elapsed, first[0])
            if not first[1].done():
                first[1].set_result(None)
            for _ in range(3):
                await asyncio.sleep(0)
        self._elapsed = target
        for _ in range(3):
            await asyncio.sleep(0)


class LamportClock:
    """Counts events, so that what caused another has the smaller number. Thread-safe.

    Source:
        L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", 1978.

    >>> clock = LamportClock()
    >>> clock.forward(), clock.adjust(7), clock.forward()
    (1, 8, 9)
    """

    def __init__(self, initial_value: int = 0) -> None:
        self.value = initial_value
        self._mutex = threading.Lock()

    def forward(self) -> int:
        """Count an event of our own."""
        with self._mutex:
            self.value += 1
            return self.value

    def skip(self, count: int) -> int:
        """Count ``count`` events of our own; returns the number before the first of them."""
        with self._mutex:
            self.value += count
            return self.value - count

    def adjust(self, other: int) -> int:
        """Count an event that another process stamped ``other``."""
        with self._mutex:
            self.value = max(self.value, other) + 1
            return self.value

    def __repr__(self) -> str:
        return f"<LamportClock: {self.value}>"
