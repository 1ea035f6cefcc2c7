"""What brokers hand out."""

from __future__ import annotations

from math import inf

import msgspec

from umbel.model.message import Message

__all__ = ["Delivery"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message on loan: ours until its lease runs out or we settle it."""

    message: Message
    queue: str
    tag: str
    """The broker's receipt; means nothing to anyone else. Unique for every lease granted."""
    attempt: int = 1
    """One more than how often holders of the message died: the first time counts whatever they
    were doing with it, later times only after :meth:`umbel.protocols.Broker.start`. What was
    given back in order does not count, unless it says so."""
    redelivered: bool = False
    """Whether someone had this message before, however that ended."""
    begun: bool = False
    """Whether its holder died after :meth:`umbel.protocols.Broker.begin`: it must not run again;
    whoever gets it says so to whoever waits for it."""
    leased_until: float = inf
    """On the monotonic clock; ``inf`` when the lease lasts as long as the connection."""
    defect: str | None = None
    """Why the broker could not read what it found: a sentence. ``message.body`` is then the raw
    bytes, ``message.id`` is empty, and nothing else in the message means anything."""
