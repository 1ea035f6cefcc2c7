"""What a clock must do."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """The only source of time; nothing else in ``umbel`` reads one."""

    def now(self) -> datetime:
        """Wall time, timezone-aware, UTC. For dates that leave the process."""
        ...

    def time(self) -> float:
        """Wall time as Unix seconds; cheaper than :meth:`now`."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back. For deadlines inside the process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
