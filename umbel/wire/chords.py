"""The body of a chord on its way from a member's end to whoever counts the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Arrival, ResultRecord
from umbel.serialization import registry
from umbel.serialization.shapes import is_dict

__all__ = ["ChordBody", "arrival", "read"]

_LAST = 2**53
"""The place of members whose message gives none: behind all others, as with Celery."""


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
    content_type, content_encoding, data = registry.dumps([dict(signature), root_id], serializer)
    head = f"{content_type}\0{content_encoding}\0".encode("ascii")
    size = signature.get("chord_size")
    return Arrival(
        chord_id=chord_id,
        index=_LAST if index is None else index,
        size=size if isinstance(size, int) else 0,
        record=record,
        body=head + data,
    )


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
