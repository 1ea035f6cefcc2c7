"""``celery.worker.autoscale``: as many processes as there is work for.

Source:
    Celery user guide, Workers, "Autoscaling": names, arguments, the rule, the log lines.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from umbel.clock import SystemClock
from umbel.protocols import Pool

if TYPE_CHECKING:
    from umbel.worker.worker import Worker

__all__ = ["AUTOSCALE_KEEPALIVE", "Autoscaler"]

logger = logging.getLogger(__name__)

AUTOSCALE_KEEPALIVE = float(os.environ.get("AUTOSCALE_KEEPALIVE", "30"))
"""Seconds that a process stays after it was last needed."""

_CLOCK = SystemClock()
_INTERVAL = 1.0
"""Seconds between two looks when nothing comes."""


class Autoscaler:
    """Grows the pool as soon as tasks wait for a slot, and shrinks it when there has been less to
    do for :attr:`keepalive` seconds.

    To be subclassed for other rules (``worker_autoscaler``): :meth:`_maybe_scale` decides, by
    :attr:`qty` and :attr:`processes`, and calls :meth:`scale_up` or :meth:`scale_down`.
    """

    def __init__(
        self,
        pool: Pool,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Worker | None = None,
        keepalive: float = AUTOSCALE_KEEPALIVE,
        mutex: Any = None,
    ) -> None:
        self.pool = pool
        self.max_concurrency = max_concurrency
        self.min_concurrency = min_concurrency
        self.worker = worker
        self.keepalive = keepalive
        self._last_scale_up: float | None = None
        self._last_task_received: float | None = None
        self._wanted: int | None = None
        self._is_asked = asyncio.Event()

    @property
    def qty(self) -> int:
        """How many tasks run or wait for a slot."""
        return 0 if self.worker is None else len(self.worker.state.active)

    @property
    def processes(self) -> int:
        """How many slots there are, or will be in a moment."""
        return self.pool.size if self._wanted is None else self._wanted

    @property
    def headroom(self) -> int:
        """By how many slots the pool may grow."""
        return max(0, self.max_concurrency - self.processes)

    def maybe_scale(self, req: object = None) -> None:
        """Grow or shrink if that is due.

        Args:
            req: The task that has come, if that is why.
        """
        if req is not None:
            self._last_task_received = _CLOCK.monotonic()
        self._maybe_scale(req)

    def _maybe_scale(self, req: object = None) -> bool | None:
        """The rule; returns whether it did anything."""
        processes = self.processes
        wanted = min(self.qty, self.max_concurrency)
        if wanted > processes:
            self.scale_up(wanted - processes)
            return True
        wanted = max(self.qty, self.min_concurrency)
        if wanted < processes:
            self.scale_down(processes - wanted)
            return True
        return None

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:
        """Change the range; returns it, largest first.

        Raises:
            ValueError: The least would be more than the most, or less than 0.
        """
        most = self.max_concurrency if max is None else max
        least = self.min_concurrency if min is None else min
        if not 0 <= least <= most or most < 1:
            raise ValueError(f"cannot scale between {least} and {most} processes")
        self.max_concurrency, self.min_concurrency = most, least
        if most < self.processes:
            self._shrink(self.processes - most)
        if least > self.processes:
            self._grow(least - self.processes)
        return most, least

    def scale_up(self, n: int) -> None:
        """Have ``n`` more slots."""
        self._last_scale_up = _CLOCK.monotonic()
        self._grow(n)

    def scale_down(self, n: int) -> None:
        """Have ``n`` slots less, if the last change is long enough ago."""
        moments = [
            moment
            for moment in (self._last_scale_up, self._last_task_received)
            if moment is not None
        ]
        if moments and _CLOCK.monotonic() - max(moments) > self.keepalive:
            self._shrink(n)

    def info(self) -> dict[str, int]:
        """What ``inspect stats`` shows."""
        return {
            "max": self.max_concurrency,
            "min": self.min_concurrency,
            "current": self.processes,
            "qty": self.qty,
        }

    async def apply(self) -> None:
        """Resize the pool as it was decided."""
        wanted, self._wanted = self._wanted, None
        if wanted is not None and wanted != self.pool.size:
            await self.pool.resize(wanted)

    async def run(self, ending: asyncio.Event) -> None:
        """Look again and again, until the event is set."""
        while not ending.is_set():
            self._is_asked.clear()
            self.maybe_scale()
            await self.apply()
            waiting = [asyncio.ensure_future(event.wait()) for event in (ending, self._is_asked)]
            await asyncio.wait(waiting, timeout=_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()

    def _grow(self, n: int) -> None:
        logger.info("Scaling up %s processes.", n)
        self._want(self.processes + n)

    def _shrink(self, n: int) -> None:
        logger.info("Scaling down %s processes.", n)
        self._want(self.processes - n)

    def _want(self, size: int) -> None:
        self._wanted = size
        self._is_asked.set()
