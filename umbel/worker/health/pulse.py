"""Whether a worker takes messages: not only that it lives."""

from __future__ import annotations

from umbel.protocols import Clock

__all__ = ["Pulse"]

_LATE = 10.0
"""Seconds beyond the agreed ones after which a broker does not answer."""


class Pulse:
    """What the intake does right now, for whoever asks how the worker is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = False
        self._ending = False
        self._asked_at: float | None = None
        self._wait = 0.0
        self._hungry_since: float | None = None

    def start(self) -> None:
        """It takes messages from now on."""
        self._started = True

    def end(self) -> None:
        """It has been asked to end."""
        self._ending = True

    def asking(self, wait: float) -> None:
        """It has room, and asks the broker for messages; an answer is due in ``wait`` seconds."""
        now = self._clock.monotonic()
        self._asked_at = now
        self._wait = wait
        if self._hungry_since is None:
            self._hungry_since = now

    def answered(self, count: int) -> None:
        """The broker has answered with so many messages."""
        self._asked_at = None
        if count:
            self._hungry_since = None

    def interrupted(self) -> None:
        """It has stopped asking, for reasons of its own."""
        self._asked_at = None

    def sated(self) -> None:
        """It has no room: whatever waits now waits for its tasks, not for the broker."""
        self._hungry_since = None

    @property
    def hungry_for(self) -> float:
        """Seconds that it has had room, and nothing came."""
        since = self._hungry_since
        return 0.0 if since is None or self._ending else self._clock.monotonic() - since

    def reset(self) -> None:
        """Count from now on how long nothing comes."""
        if self._hungry_since is not None:
            self._hungry_since = self._clock.monotonic()

    @property
    def complaint(self) -> str | None:
        """Why it does not take messages; None: it does, or is busy with those it has."""
        if self._ending:
            return "ending"
        if not self._started:
            return "starting"
        if self._asked_at is not None:
            silent = self._clock.monotonic() - self._asked_at
            if silent > self._wait + _LATE:
                return f"the broker has not answered for {silent:.0f} seconds"
        return None
