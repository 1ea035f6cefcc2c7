"""Schedulers that do not know of each other, known by the tasks they send.

Celery's schedulers answer nobody unless told to, and nothing keeps two of them from running at
once; then every periodic task is sent twice. Each message says who has sent it: where two senders
take turns, both are alive.

Source:
    The headers ``celery_beat_task`` and ``origin``, as observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.model import Delivery
from umbel.protocols import Clock

__all__ = ["Rivals"]

_FEW = 4
"""Periodic tasks come one by one; who drains a full queue has no time for this."""
_WINDOW = 3600.0
"""Seconds within which a scheduler has to be heard of again."""
_MOST = 100
"""Schedulers that are remembered."""


class _Sender(msgspec.Struct):
    origin: str | None = None
    celery_beat_task: bool = False


_read = msgspec.json.Decoder(_Sender).decode


class Rivals:
    """Who sends periodic tasks to this worker, as far as it takes turns with others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = ""
        # By the scheduler's name: when another was heard of after it; when it took a turn.
        self._left: dict[str, float] = {}
        self._turns: dict[str, float] = {}

    def look(self, deliveries: Sequence[Delivery]) -> None:
        """See who has sent these, if they are few."""
        if len(deliveries) > _FEW:
            return
        for delivery in deliveries:
            headers = delivery.message.headers
            if b'"celery_beat_task"' not in headers:
                continue
            try:
                sender = _read(headers)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if sender.celery_beat_task and sender.origin:
                self._note(sender.origin)

    def names(self) -> list[str]:
        """Schedulers that have taken turns within the last hour; none, or two and more."""
        since = self._clock.monotonic() - _WINDOW
        return sorted(name for name, at in self._turns.items() if at > since)

    def _note(self, origin: str) -> None:
        last, self._last = self._last, origin
        if origin == last:
            return
        now = self._clock.monotonic()
        if self._left.get(origin, -_WINDOW) > now - _WINDOW:
            # It had been replaced, as it seemed, and is there again: so both are.
            self._turns[origin] = self._turns[last] = now
        if last:
            self._left[last] = now
        for known in (self._left, self._turns):
            while len(known) > _MOST:
                del known[next(iter(known))]
