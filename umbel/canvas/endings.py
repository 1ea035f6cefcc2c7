"""What a task's end means for the chord around it, and for what was to come after it. Pure.

A chord must never wait for what will not come: when a task fails whose chain would have ended in a
member, the end of that chain arrives in its place, failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from umbel.canvas.plan import is_mapping
from umbel.model import Arrival, Message, ResultRecord
from umbel.wire import chords
from umbel.wire.results import ResultCodec

__all__ = ["NOTHING", "Ending", "Member", "arrived", "ended", "fallen", "unread"]


class Ending(msgspec.Struct, frozen=True):
    """What else has ended with a task."""

    tail: tuple[ResultRecord, ...] = ()
    """The failure of all that was to come after it."""
    arrivals: tuple[Arrival, ...] = ()
    """At the chords that it, or the end of its chain, is a member of."""


NOTHING = Ending()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has ended: what its message says of its place."""

    chord: Mapping[str, Any] | None
    """The body of the chord that it is a member of."""
    chain: Sequence[Any] | None
    """What was to come after it, in reverse."""
    group_id: str | None
    group_index: int | None
    root_id: str | None
    serializer: str = "json"
    """The name of the one that its message is written with."""
    reply_to: str | None = None
    """Where results that travel as messages are sent."""


def arrived(member: Member, record: ResultRecord) -> Ending:
    """A task has ended as ``record`` says, and so has nothing else."""
    if member.chord is None or member.group_id is None:
        return NOTHING
    arrival = _arrival(member, member.chord, member.group_id, member.group_index, record)
    return Ending((), (arrival,))


def ended(
    member: Member,
    record: ResultRecord,
    error: BaseException,
    traceback: str | None,
    codec: ResultCodec,
) -> Ending:
    """A task has not succeeded: it arrives as ``record`` says, and what was to come after it has
    failed with ``error``, too.

    Whoever waits for the end of a chain waits for the last of these.
    """
    if member.chain is None:
        return arrived(member, record)
    fall = _Fall(member, error, traceback, codec)
    for link in reversed(member.chain):
        fall.take(link)
    own = arrived(member, record)
    return Ending(tuple(fall.records), (*own.arrivals, *fall.arrivals))


def unread(message: Message, record: ResultRecord) -> tuple[Arrival, ...]:
    """A task has ended as ``record`` says whose message's body cannot be read: which chord it is a
    member of, if any, is in its headers as well; what was to come after it is not."""
    place = chords.place_of(message)
    return () if place is None else (chords.unread(place, record),)


def fallen(
    signature: Mapping[str, Any],
    member: Member,
    error: BaseException,
    traceback: str | None,
    codec: ResultCodec,
) -> Ending:
    """What was to run as ``signature`` says will never run."""
    fall = _Fall(member, error, traceback, codec)
    fall.take(signature)
    return Ending(tuple(fall.records), tuple(fall.arrivals))


class _Place(msgspec.Struct, frozen=True):
    """A task that will not run: what a record needs to know of it."""

    id: str
    group_id: str | None
    parent_id: str | None
    message: Message


class _Fall:
    """Walks through signatures whose turn will not come."""

    def __init__(
        self, member: Member, error: BaseException, traceback: str | None, codec: ResultCodec
    ) -> None:
        self._member = member
        self._error = error
        self._traceback = traceback
        self._codec = codec
        self.records: list[ResultRecord] = []
        self.arrivals: list[Arrival] = []

    def take(self, signature: Any, inherited: Mapping[str, Any] | None = None) -> None:
        """Everything in ``signature`` has failed.

        Args:
            inherited: Options of the composition that it ends.
        """
        if not is_mapping(signature):
            # It would have failed for that very reason.
            return
        options: dict[str, Any] = {**(signature.get("options") or {})}
        kwargs: Mapping[str, Any] = signature.get("kwargs") or {}
        ends = {name: options[name] for name in _OF_THE_END if options.get(name) is not None}
        ends = {**(inherited or {}), **ends}
        match signature.get("subtask_type"):
            case "chain":
                tasks = list(kwargs.get("tasks") or ())
                for task in tasks[:-1]:
                    self.take(task)
                for task in tasks[-1:]:
                    self.take(task, ends)
            case "group":
                for task in kwargs.get("tasks") or ():
                    self.take(task, {n: v for n, v in ends.items() if n != "group_index"})
            case "chord":
                header: Any = kwargs.get("header") or ()
                if is_mapping(header):
                    inner: Mapping[str, Any] = header.get("kwargs") or {}
                    header = inner.get("tasks") or ()
                for task in header:
                    self.take(task)
                if kwargs.get("body"):
                    self.take(kwargs["body"], ends)
            case _:
                self._fail({**options, **ends})
        for link in reversed(options.get("chain") or ()):
            self.take(link)

    def _fail(self, options: Mapping[str, Any]) -> None:
        task_id, group_id = options.get("task_id"), options.get("group_id")
        if not isinstance(task_id, str):
            return
        reply_to = options.get("reply_to") or self._member.reply_to
        address = Message(id=task_id, body=b"", reply_to=reply_to)
        place = _Place(task_id, group_id, options.get("parent_id"), address)
        record = self._codec.failed(place, self._error, self._traceback)
        self.records.append(record)
        if options.get("chord") is not None and group_id is not None:
            index = options.get("group_index")
            self.arrivals.append(_arrival(self._member, options["chord"], group_id, index, record))


_OF_THE_END = ("chord", "group_id", "group_index")


def _arrival(
    member: Member,
    chord: Mapping[str, Any],
    chord_id: str,
    index: int | None,
    record: ResultRecord,
) -> Arrival:
    return chords.arrival(
        chord,
        record,
        chord_id=chord_id,
        index=index,
        root_id=member.root_id,
        serializer=member.serializer,
    )
