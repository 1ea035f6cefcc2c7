"""How a chord's members ended, in the form that Celery's Redis backend keeps it in.

A part is ``[1, task id, state, result]``: a result's document without what chords do not need, in
the result serializer's form. ``ResultCodec.read`` reads both.

Source:
    Observed with Celery 5.7 on Redis: the members of ``celery-taskset-meta-<id>.j``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from umbel.model import ResultRecord
from umbel.wire.documents import reformed

__all__ = ["part_of", "record_of"]

_VERSION = 1


class _Document(msgspec.Struct):
    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")


_read = msgspec.json.Decoder(_Document).decode
_read_part = msgspec.json.Decoder(tuple[int, str, str, msgspec.Raw]).decode
_write = msgspec.json.Encoder().encode


def part_of(record: ResultRecord) -> bytes:
    """What a chord keeps of a member's record, which we have written.

    Raises:
        DecodeError: It is no result.
    """
    try:
        # Nearly always, and without looking into the result.
        document = _read(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return reformed(record.body, lambda found: _part(record, found))
    return _write((_VERSION, record.id, document.status, document.result))


def record_of(part: bytes) -> ResultRecord:
    """The record of a member from its part, whoever wrote it. The id and the state are empty where
    only ``ResultCodec.read`` can see them."""
    try:
        _, task_id, state, _ = _read_part(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        task_id = state = ""
    return ResultRecord(id=task_id, state=state, body=part)


def _part(record: ResultRecord, document: Any) -> list[object]:
    return [_VERSION, record.id, record.state, document["result"]]
