"""What a finished request asks for."""

from __future__ import annotations

import msgspec

from umbel.model.delivery import Delivery
from umbel.model.message import Message
from umbel.model.record import Arrival, Expected, ResultRecord

__all__ = ["Ack", "Nack", "Settlement"]


class Ack(msgspec.Struct, frozen=True):
    """Done with it; never deliver it again."""


class Nack(msgspec.Struct, frozen=True, kw_only=True):
    """Not done: give it back (``requeue``) after ``delay`` seconds, or drop it."""

    requeue: bool = True
    delay: float = 0.0
    counts: bool = False
    """Whether a message that is given back has used up an attempt: the process that ran it died."""
    reason: str = ""
    """Why it is dropped, for whoever finds it among the dead letters."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything one finished request asks of the outside world."""

    delivery: Delivery | None
    """None for what came with no message."""
    verdict: Ack | Nack
    record: ResultRecord | None = None
    tail: tuple[ResultRecord, ...] = ()
    """The failure of what was to come after it."""
    publish: tuple[Message, ...] = ()
    expect: tuple[Expected, ...] = ()
    """The chords that start with ``publish``; told to the backend before it is published."""
    arrivals: tuple[Arrival, ...] = ()
    doubtful: bool = False
    """Whether the task may have ended otherwise, and that be stored: its worker died, and this is
    what is to happen if it had not ended."""
