"""What running a request comes to. Exactly one of six things; ``key`` is the request's."""

from __future__ import annotations

from typing import Literal

import msgspec

from umbel.model.message import Message
from umbel.model.record import Arrival, Expected, ResultRecord

__all__ = ["Failed", "Ignored", "Outcome", "Rejected", "Retried", "Revoked", "Succeeded"]


class Succeeded(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="succeeded", gc=False
):
    """The function returned."""

    key: int
    runtime: float
    """Seconds."""
    record: ResultRecord | None
    """None when the result is ignored."""
    follow_ups: tuple[Message, ...] = ()
    """Callbacks and the next link of the chain, ready to publish."""
    expect: tuple[Expected, ...] = ()
    """The chords that start with ``follow_ups``."""
    arrivals: tuple[Arrival, ...] = ()
    """At the chord that it is a member of."""
    told: tuple[bytes, bytes] | None = None
    """Its part of the last events, as :func:`umbel.wire.news.ending` writes it; None unless
    :attr:`Request.tell` asks for it."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="failed", gc=False):
    """The function raised, or its process is gone."""

    key: int
    runtime: float
    record: ResultRecord | None
    follow_ups: tuple[Message, ...] = ()
    """Error callbacks, ready to publish."""
    cause: Literal["raised", "worker-lost", "time-limit"] = "raised"
    """Who says so: the task, or the pool after the process died or overran its hard limit."""
    reason: str = ""
    """What the pool saw, for people: ``signal 9 (SIGKILL)``. Empty when the task raised."""
    expect: tuple[Expected, ...] = ()
    """The chords that start with ``follow_ups``."""
    tail: tuple[ResultRecord, ...] = ()
    """The failure of all that was to come after it in a chain."""
    arrivals: tuple[Arrival, ...] = ()
    """At the chord that it, or the end of its chain, is a member of."""
    shown: tuple[str, str] | None = None
    """Exception and traceback, for people; None unless :attr:`Request.tell` asks for them."""


class Retried(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="retried", gc=False):
    """The task asked to be run again."""

    key: int
    runtime: float
    record: ResultRecord | None
    message: Message
    """The next attempt: same id, ``retries`` one higher, ``not_before`` set."""
    shown: tuple[str, str] | None = None
    """As of :class:`Failed`."""


class Ignored(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="ignored", gc=False):
    """The task asked for nothing to be recorded."""

    key: int
    runtime: float = 0.0
    follow_ups: tuple[Message, ...] = ()
    """What takes its place, when it has replaced itself."""
    expect: tuple[Expected, ...] = ()
    """The chords that start with ``follow_ups``."""
    tail: tuple[ResultRecord, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    """As a failure: a chord does not wait for what will never come."""


class Rejected(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="rejected", gc=False
):
    """The task asked for its message to be dropped, or given back."""

    key: int
    requeue: bool
    record: ResultRecord | None = None
    """A failure, when the message will not come back."""
    reason: str = ""
    runtime: float = 0.0
    tail: tuple[ResultRecord, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    """When the message will not come back."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="revoked", gc=False):
    """The task was revoked, or had expired, before or while it ran."""

    key: int
    record: ResultRecord | None
    runtime: float = 0.0


Outcome = Succeeded | Failed | Retried | Ignored | Rejected | Revoked
