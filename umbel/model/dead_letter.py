"""What was given up."""

from __future__ import annotations

import msgspec

from umbel.model.message import Message

__all__ = ["DeadLetter", "Retention"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that nobody will be given any more, and why."""

    id: str
    """The dead letter's own; the task's is ``message.id``."""
    queue: str
    """Where it came from."""
    message: Message
    """As it came. What was no message at all has an empty ``id``, and its bytes as ``body``."""
    attempt: int = 1
    """See :attr:`umbel.model.Delivery.attempt`."""
    reason: str = ""
    dropped_at: float = 0.0
    """Unix seconds."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much of something is kept, and how long."""

    count: int = 10_000
    """Of more, the oldest go."""
    seconds: float | None = 30 * 86400.0
    """None: for ever."""
