"""When children may be started."""

from __future__ import annotations

import logging

from umbel.signals import worker_before_create_process

__all__ = ["Births"]

logger = logging.getLogger(__name__)

_YOUNG = 1.0
"""Seconds; a child that dies before has not lived."""
_STRIKES = 3
"""How often all children may die young before their replacement has to wait."""
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 15.0


class Births:
    """Makes the next ones wait, longer and longer, when none lives."""

    def __init__(self) -> None:
        self.not_before = 0.0
        """On the monotonic clock."""
        self._young_deaths = 0

    def note_life(self) -> None:
        """A child has done some work."""
        self._young_deaths = 0

    def announce(self, pool: object) -> None:
        """A child is about to be asked for."""
        worker_before_create_process.send(sender=pool)

    def note_death(self, now: float, *, lived: float, size: int, reason: str) -> None:
        """A child has died that was not to end.

        Args:
            lived: Seconds.
            size: How many children there should be.
        """
        if lived >= _YOUNG:
            self._young_deaths = 0
            return
        self._young_deaths += 1
        rounds = self._young_deaths // max(1, size) - _STRIKES
        if rounds < 0:
            return
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**rounds)
        self.not_before = now + delay
        logger.critical(
            "Children die as soon as they are started (%d in a row, the last with %s); "
            "the next ones are started in %.2f seconds",
            self._young_deaths,
            reason,
            delay,
        )
