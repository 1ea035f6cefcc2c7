"""What result backends keep."""

from __future__ import annotations

import msgspec

__all__ = ["Arrival", "FullChord", "GroupRecord", "ResultRecord"]


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One task's result, encoded."""

    id: str
    state: str
    body: bytes
    """The ``celery-task-meta`` document, in the result serializer's form."""
    expires_at: float | None = None
    """Unix seconds; None means never."""
    reply_to: str | None = None
    """Where a backend that sends results as messages sends this one."""
    correlation_id: str | None = None


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a group, in order."""

    id: str
    body: bytes
    """The ``celery-taskset-meta`` document: ``{"result": [[id, parent], [members]]}``."""
    expires_at: float | None = None


class Arrival(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Member ``index`` of a chord of ``size`` has ended, well or badly."""

    chord_id: str
    index: int
    size: int
    record: ResultRecord
    body: bytes
    """The signature to run after the last one, as it travelled in the message."""


class FullChord(msgspec.Struct, frozen=True, kw_only=True):
    """A chord whose members have all arrived."""

    id: str
    records: tuple[ResultRecord, ...]
    """By index."""
