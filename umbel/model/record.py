"""What result backends keep."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from umbel.model.message import Message

__all__ = [
    "Arrival",
    "Composed",
    "Expected",
    "FullChord",
    "GroupRecord",
    "ResultRecord",
    "arrival_by_chord",
]


class Expected(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A chord whose members are about to be sent."""

    chord_id: str
    size: int
    """How many members are to arrive at it; 0: nobody knows yet, and it is said again."""
    body: bytes | None = None
    """What to run after the last one, as :attr:`Arrival.body`; None: it was said before."""


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
    """What to run after the last one: ``umbel.wire.chords`` writes and reads it. Empty: the
    member's message cannot be read; it counts only where the backend knows of the chord."""
    expected: bool = False
    """Whether the backend was told of the chord, with its body, before any member was sent: if it
    knows nothing of it now, it has lost it."""


class FullChord(msgspec.Struct, frozen=True, kw_only=True):
    """A chord whose members have all arrived."""

    id: str
    records: tuple[ResultRecord, ...]
    """By index."""
    group: GroupRecord | None = None
    """The header, where somebody saved it because groups within it must come out as lists: done
    by Celery, on Redis."""
    body: bytes = b""
    """What to run, as it was said when the chord was expected; for arrivals that do not know."""
    lost: bool = False
    """Whether the backend has lost who has arrived: its members cannot be counted any more."""
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


def arrival_by_chord(arrivals: Iterable[Arrival]) -> dict[str, Arrival]:
    """One arrival at each chord: the last, of those that know what to run."""
    found: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.body or arrival.chord_id not in found:
            found[arrival.chord_id] = arrival
    return found
