"""The body of a chord on its way from a member's end to whoever counts the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from umbel.exceptions import DecodeError, EncodeError
from umbel.model import Arrival, Expected, Message, ResultRecord
from umbel.serialization import registry
from umbel.serialization.shapes import is_dict
from umbel.wire import headers

__all__ = [
    "ChordBody",
    "Place",
    "arrival",
    "expected",
    "marked",
    "place_of",
    "read",
    "unread",
]

_LAST = 2**53
"""The place of members whose message gives none: behind all others, as with Celery."""


_EXPECTED = "umbel_expected"
"""The key of a body's signature that says of which chord it is, where the backend was told of that
chord before any of its members was sent."""


class ChordBody(msgspec.Struct, frozen=True):
    """What to run when all members have ended."""

    signature: Mapping[str, Any]
    """As it travelled in the members' messages: its options say its id, its links, what is
    chained behind it, and which chord it is itself a member of."""
    root_id: str | None
    """The first task of the workflow."""


def arrival(
    signature: Mapping[str, Any],
    record: ResultRecord,
    *,
    chord_id: str,
    index: int | None,
    root_id: str | None,
    serializer: str = "json",
) -> Arrival:
    """The arrival of the member that ``record`` is about.

    Args:
        signature: The chord's body.
        index: The ``group_index`` of the member.
        serializer: The name of one that can write the signature: the one it came in.
    """
    size = signature.get("chord_size")
    return Arrival(
        chord_id=chord_id,
        index=_LAST if index is None else index,
        size=size if isinstance(size, int) else 0,
        record=record,
        body=_written(signature, root_id, serializer),
        expected=_is_marked(signature, chord_id),
    )


class Place(msgspec.Struct, frozen=True):
    """What the headers of a message say of a task in a group."""

    task_id: str
    group_id: str
    index: int


def place_of(message: Message) -> Place | None:
    """Where a task stands whose message cannot be read beyond its headers, if in any group."""
    try:
        found = headers.read(message)
    except DecodeError:
        return None
    task_id, group_id, index = found.get("id"), found.get("group"), found.get("group_index")
    if not isinstance(task_id, str) or not isinstance(group_id, str):
        return None
    return Place(task_id, group_id, index if isinstance(index, int) else _LAST)


def unread(place: Place, record: ResultRecord) -> Arrival:
    """The arrival of such a task: whether the group is a chord, the backend knows."""
    return Arrival(chord_id=place.group_id, index=place.index, size=0, record=record, body=b"")


def expected(
    signature: Mapping[str, Any], *, chord_id: str, size: int, root_id: str | None
) -> Expected:
    """What the backend is told of a chord before the first of its members is sent.

    Args:
        signature: The chord's body.
        size: 0: nobody knows yet.
    """
    try:
        body = _written(signature, root_id, "json")
    except EncodeError:
        # Then its members are not written as JSON either.
        body = _written(signature, root_id, "pickle")
    return Expected(chord_id, size, body)


def marked(signature: Mapping[str, Any], chord_id: str) -> Mapping[str, Any]:
    """The body as members of an expected chord have it.

    Celery's workers keep keys that they do not know, but make options of those of chords; then the
    mark is in the chord's own body. As it names the chord, it says nothing of others there.
    """
    if signature.get("subtask_type") == "chord":
        kwargs = signature["kwargs"]
        if not is_dict(kwargs.get("body")):
            return signature
        return {**signature, "kwargs": {**kwargs, "body": marked(kwargs["body"], chord_id)}}
    return {**signature, _EXPECTED: chord_id}


def _is_marked(signature: Mapping[str, Any], chord_id: str) -> bool:
    while signature.get("subtask_type") == "chord" and is_dict(signature["kwargs"].get("body")):
        signature = signature["kwargs"]["body"]
    return signature.get(_EXPECTED) == chord_id


def _written(signature: Mapping[str, Any], root_id: str | None, serializer: str) -> bytes:
    content_type, content_encoding, data = registry.dumps([dict(signature), root_id], serializer)
    return f"{content_type}\0{content_encoding}\0".encode("ascii") + data


def read(body: bytes, *, accept: frozenset[str]) -> ChordBody:
    """What :func:`arrival` has written.

    Raises:
        ContentDisallowed: The content type is not among ``accept``.
        DecodeError: It is something else.
    """
    try:
        content_type, content_encoding, data = body.split(b"\0", 2)
    except ValueError:
        raise DecodeError(f"{body!r:.80} is not the body of a chord.") from None
    found: Any = registry.loads(
        data, content_type.decode("ascii"), content_encoding.decode("ascii"), accept=accept
    )
    signature, root_id = found
    if not is_dict(signature):
        raise DecodeError(f"the body of a chord is of type {type(signature).__name__}.")
    return ChordBody(signature, root_id)
