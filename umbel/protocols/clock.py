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

    def uptime(self) -> float:
        """Seconds that never go back, and at any moment the same in every process of the machine;
        nobody sets them, they stand still while it sleeps, and begin anew when it is started. For
        what processes that share its disk agree upon."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
