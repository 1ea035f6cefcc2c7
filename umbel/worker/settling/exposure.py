"""How much a sudden death of the worker may make run twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from umbel.model import Outcome
from umbel.worker.fetching.admission import Accepted

__all__ = ["Exposure"]

_WORTH_WAITING = 0.0005
"""Seconds a task must take for its acknowledgement to be waited for: about what that takes."""


class Exposure:
    """Counts the late-acknowledged tasks that have started and are not acknowledged yet.

    Each of them runs again when the worker is killed. Where tasks take long enough, a slot gets
    the next one only when the one before is acknowledged, so that only what runs can run twice.
    Shorter ones go in batches: waiting for each would cost more than the work, many times over.
    """

    def __init__(self, size: Callable[[], int]) -> None:
        """Make one.

        Args:
            size: How many tasks run at once, as it is now.
        """
        self._size = size
        self._running = 0
        self._finished = 0
        self._settling = 0
        # Until something is known, tasks are taken to be worth waiting for.
        self._mean = 2 * _WORTH_WAITING

    def started(self, run: Sequence[Accepted]) -> None:
        """These have gone to the pool."""
        # A list: a generator would be resumed, that is called, for each of them.
        self._running += sum([accepted.options.acks_late for accepted in run])

    def withdrawn(self, run: Sequence[Accepted]) -> None:
        """These had gone to the pool, and came back unstarted."""
        self._running -= sum(accepted.options.acks_late for accepted in run)

    def finished(self, ended: Sequence[tuple[Accepted, Outcome]]) -> None:
        """These have ended; their acknowledgements are still to come."""
        for accepted, outcome in ended:
            if accepted.options.acks_late:
                self._running -= 1
                self._finished += 1
                # Growing is believed sooner than shrinking: it is what makes waiting worth it.
                growth = outcome.runtime - self._mean
                self._mean += growth * (0.5 if growth > 0 else 0.1)

    def settling(self) -> None:
        """Everything that has finished is being acknowledged."""
        self._settling, self._finished = self._finished, 0

    def settled(self) -> None:
        """What was being acknowledged is."""
        self._settling = 0

    def admits(self, run: Sequence[Accepted], free: int) -> int:
        """How many of the first requests of ``run`` may start now, ``free`` at most."""
        if self._mean < _WORTH_WAITING:
            return min(free, len(run))
        room = self._size() - self._running - self._finished - self._settling
        for count, accepted in enumerate(run[:free]):
            if accepted.options.acks_late:
                if room <= 0:
                    return count
                room -= 1
        return min(free, len(run))
