"""Whether this process has stood still, so that it may not know yet what has become of it."""

from __future__ import annotations

import asyncio

from umbel.protocols import Clock

__all__ = ["Pulse"]

_EVERY = 1.0
_MOST = 2.0
"""Seconds between two beats; much less than RabbitMQ takes to give up who is silent."""


class Pulse:
    """Beats on the event loop, which stands still with its process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat_at = 0.0
        self._next: asyncio.TimerHandle | None = None
        self._missed = False

    def start(self) -> None:
        """Beat from now on. Idempotent."""
        if self._next is None:
            self._beat_at = self._clock.monotonic()
            self._wait()

    def stop(self) -> None:
        """Beat no more. Idempotent."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @property
    def stood_still(self) -> bool:
        """Whether beats were missed since :meth:`forgive`."""
        return self._missed or (
            self._next is not None and self._clock.monotonic() - self._beat_at > _MOST
        )

    def forgive(self) -> None:
        """It is known what became of us meanwhile."""
        self._missed = False
        self._beat_at = self._clock.monotonic()

    def _wait(self) -> None:
        self._next = asyncio.get_running_loop().call_later(_EVERY, self._beat)

    def _beat(self) -> None:
        # Others that were due meanwhile may come after this one, and ask.
        self._missed = self.stood_still
        self._beat_at = self._clock.monotonic()
        self._wait()
