"""What brokers carry."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Message"]

_NOTHING: Mapping[str, object] = {}


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A task call as a broker carries it: an opaque body and a readable envelope.

    Written by ``umbel.wire``, read by ``umbel.wire``; brokers look at the envelope only.
    """

    id: str
    """The task id; stays the same when the message is delivered or published again."""
    body: bytes
    """``(args, kwargs, embed)``, serialized, perhaps compressed or signed."""
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    headers: bytes = b"{}"
    """A JSON object: task message protocol 2 headers, kept as they came.

    Encoded, because what passes a message on (brokers, the worker's parent process) needs a
    few of the twenty, and what needs all of them is rare. ``wire.headers`` reads them.
    """
    correlation_id: str | None = None
    reply_to: str | None = None
    properties: Mapping[str, object] = msgspec.field(default_factory=lambda: _NOTHING)
    """Message properties that are not fields here, for example ``delivery_mode`` when not 2."""
    exchange: str = ""
    """Empty: the queue named ``routing_key``."""
    routing_key: str = "celery"
    priority: int | None = None
    """0 to 9, as the caller gave it; which end comes first is the broker's convention."""
    not_before: float | None = None
    """Unix seconds; None means now."""
    expires_at: float | None = None
    """Unix seconds; None means never."""
