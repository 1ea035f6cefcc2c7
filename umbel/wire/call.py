"""What a producer asks for: everything that goes into one task message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

__all__ = ["Call"]

_NOTHING: Mapping[str, object] = {}


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One task call, routed and resolved: nothing is left to look up when it is encoded."""

    task: str
    id: str
    args: Sequence[object] = ()
    kwargs: Mapping[str, object] = msgspec.field(default_factory=lambda: _NOTHING)
    serializer: str = "json"
    compression: str | None = None
    protocol: int = 2
    exchange: str = ""
    routing_key: str = "celery"
    priority: int | None = None
    delivery_mode: int = 2
    eta: datetime | None = None
    """Aware. When the task is due; also the message's ``not_before``."""
    expires: datetime | str | None = None
    """Aware; a string is passed on unchanged (a retry keeps what it was given)."""
    expires_at: float | None = None
    """Unix seconds; the message's ``expires_at``."""
    retries: int = 0
    time_limit: float | None = None
    soft_time_limit: float | None = None
    root_id: str | None = None
    """None: the task is its own root."""
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    shadow: str | None = None
    origin: str = ""
    ignore_result: bool | None = False
    """None: the worker's task decides."""
    argsrepr: str | None = None
    """None: made from ``args``."""
    kwargsrepr: str | None = None
    """None: made from ``kwargs``."""
    callbacks: Sequence[object] | None = None
    """Signatures (dicts) to call with the result."""
    errbacks: Sequence[object] | None = None
    chain: Sequence[object] | None = None
    """What comes next, reversed: the last one runs first."""
    chord: object | None = None
    """The signature of the chord's body."""
    replaced_task_nesting: int = 0
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, object] | None = None
    headers: Mapping[str, object] | None = None
    """The caller's own headers; merged flat over the standard ones."""
    properties: Mapping[str, object] = msgspec.field(default_factory=lambda: _NOTHING)
    reply_to: str | None = None
    correlation_id: str | None = None
    """None: the id."""
    insistence: Mapping[str, object] | None = None
    """What the route says of publishing: ``retry``, ``retry_policy``. Not part of the message."""
