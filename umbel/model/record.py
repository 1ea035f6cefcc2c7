"""What result backends keep."""

from __future__ import annotations

import msgspec

from umbel.model.message import Message

__all__ = ["Arrival", "Composed", "Expected", "FullChord", "GroupRecord", "ResultRecord"]

Expected = tuple[str, int]
"""A chord's id, and how many members are to arrive at it."""


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
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


class Arrival(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A member of a chord has ended, well or badly. ``record.id`` says which."""

    chord_id: str
    """The id of the chord's header, which is a group."""
    index: int
    """Its place among the results; Celery gives some members the same one."""
    size: int
    """Members of the chord, where the message says so; 0: the backend has been told."""
    record: ResultRecord
    """How the member ended; complete even where its result is not kept."""
    body: bytes
    """What to run after the last one: ``umbel.wire.chords`` writes and reads it."""


class FullChord(msgspec.Struct, frozen=True, kw_only=True):
    """A chord whose members have all arrived."""

    id: str
    records: tuple[ResultRecord, ...]
    """By index."""
    group: GroupRecord | None = None
    """The header, where somebody saved it because groups within it must come out as lists: done
    by Celery, on Redis."""
    trouble: str = ""
    """Why its body, which was composed before, could not be sent: it fails instead."""


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a full chord: its body, or the failure of its body."""

    publish: tuple[Message, ...] = ()
    """The body, called with its members' results; else its error callbacks."""
    expect: tuple[Expected, ...] = ()
    """The chords that start with ``publish``; told to the backend before it is published."""
    records: tuple[ResultRecord, ...] = ()
    """The failure of the body, and of all that was to come after it."""
    arrivals: tuple[Arrival, ...] = ()
    """Where a body that failed was itself a member of a chord: that one's."""
