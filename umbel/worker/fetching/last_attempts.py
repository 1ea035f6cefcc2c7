"""Tasks that may have killed their workers, and how they are tried once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from umbel.protocols import Clock
from umbel.worker.fetching.admission import Accepted

__all__ = ["LastAttempts"]

_PROBATION = 3.0
"""Seconds that a worker must have lived before it makes last attempts."""


class LastAttempts:
    """Lets last attempts run one at a time.

    A task that kills the whole worker takes others with it, which come back together with it. By
    the last attempt each of them runs beside no other suspect: the innocent ones end, and only
    what kills by itself is left to die alone. A worker that was only just started makes none: one
    that somebody kills again and again as it starts would condemn whatever comes first.
    """

    def __init__(self, most: int | None, active: Container[int], clock: Clock) -> None:
        """Make one.

        Args:
            most: ``task_max_deliveries``; None: any number.
            active: The keys of the requests that the pool has.
        """
        self._most = most
        self._active = active
        self._clock = clock
        self._begin_at = clock.monotonic() + _PROBATION
        self.waiting: deque[Accepted] = deque()
        """What is kept here until it is its turn."""
        self._on_trial: int | None = None

    def set_apart(self, run: list[Accepted]) -> list[Accepted]:
        """Keep the last attempts here until it is their turn; returns the others."""
        most = self._most
        if most is None:
            return run
        # Almost never is there one, and this is asked for every batch.
        for accepted in run:
            if accepted.delivery.attempt >= most:
                break
        else:
            return run
        self.waiting += [each for each in run if _is_last(each, most)]
        return [each for each in run if not _is_last(each, most)]

    @property
    def wait(self) -> float:
        """Seconds until last attempts are made at all; 0 when none waits for that."""
        return max(0.0, self._begin_at - self._clock.monotonic()) if self.waiting else 0.0

    def next(self) -> list[Accepted]:
        """The one whose turn it is, if any."""
        on_trial = self._on_trial
        is_busy = on_trial is not None and on_trial in self._active
        if not self.waiting or is_busy or self.wait > 0:
            return []
        accepted = self.waiting.popleft()
        self._on_trial = accepted.request.key
        return [accepted]

    def take_all(self) -> list[Accepted]:
        """Hand over everything that waits."""
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting


def _is_last(accepted: Accepted, most: int) -> bool:
    # Without acks_late there is but one attempt.
    return accepted.delivery.attempt >= most and accepted.options.acks_late
