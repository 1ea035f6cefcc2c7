"""Where a worker's messages come from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.protocols import Broker

__all__ = ["Source"]


class Source(msgspec.Struct, frozen=True):
    """Where messages come from, and what they may contain."""

    broker: Broker
    queues: Sequence[str]
    accept: frozenset[str]
    """Content types."""
    limit: int
    """Bytes; no body may unpack to more."""
