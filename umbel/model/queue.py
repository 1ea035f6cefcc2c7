"""Queues, exchanges and bindings, under kombu's public names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Binding", "Exchange", "Queue", "QueueStats"]


class Exchange(msgspec.Struct, frozen=True):
    """Where messages are sent to, when not straight to a queue."""

    name: str = ""
    type: str = "direct"
    """``direct``, ``topic``, ``fanout`` or ``headers``."""
    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | None = None
    arguments: Mapping[str, object] = {}

    def __str__(self) -> str:
        return self.name

    def __call__(self, channel: Any) -> Any:
        """It, as a channel (or the one of a connection) reaches it: a ``BoundExchange``."""
        return getattr(channel, "default_channel", channel).bound_exchange(self)

    bind = __call__


class Binding(msgspec.Struct, frozen=True):
    """One more way into a queue."""

    exchange: Exchange
    routing_key: str = ""
    arguments: Mapping[str, object] = {}


class Queue(msgspec.Struct, frozen=True):
    """Where messages wait. Without an exchange it is reached by its own name."""

    name: str
    exchange: Exchange | None = None
    routing_key: str = ""
    """Empty: the queue's name."""
    bindings: tuple[Binding, ...] = ()
    """More ways in, beside ``exchange`` and ``routing_key``."""
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    expires: float | None = None
    """Seconds without a consumer after which the queue may go."""
    message_ttl: float | None = None
    """Seconds a message may wait."""
    max_length: int | None = None
    max_priority: int | None = None
    queue_arguments: Mapping[str, object] = {}
    alias: str | None = None
    """Another name to select it by, and to send to it by; it is the exchange that is meant."""
    binding_arguments: Mapping[str, object] = {}
    """Of the way in by ``exchange``; for ``headers`` exchanges, what headers must say."""

    @property
    def key(self) -> str:
        """The routing key it is reached by."""
        return self.routing_key or self.name

    def __call__(self, channel: Any) -> Any:
        """It, as a channel (or the one of a connection) reaches it: a ``BoundQueue``."""
        return getattr(channel, "default_channel", channel).bound(self)

    bind = __call__


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How full a queue is; for people, not for decisions."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
