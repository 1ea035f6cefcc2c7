"""Time for contracts: moved by hand for embedded drivers, waited for with real servers."""

from __future__ import annotations

from typing import Protocol

from umbel.clock import SystemClock
from umbel.protocols import Clock

__all__ = ["MovableClock", "WaitingClock"]


class MovableClock(Clock, Protocol):
    """A clock that a test can move: ``umbel.clock.ManualClock``, or :class:`WaitingClock`."""

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


class WaitingClock(SystemClock):
    """The machine's clock; ``advance`` takes as long as it says."""

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        await self.sleep(seconds)
