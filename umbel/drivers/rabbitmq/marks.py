"""What our producers write on a message that must wait, and consumers read: header fields.

RabbitMQ delays by whole seconds, and drops a message's own expiry when it moves it on. So the
message itself says when it is due, to the millisecond, and when it has expired.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Message
from umbel.serialization import json
from umbel.serialization.shapes import is_dict

__all__ = [
    "DELAYING",
    "Marks",
    "has_waited",
    "is_marked",
    "marked",
    "read",
    "without_marks",
]

DELAYING = "celery_delayed_"
"""How the names of the exchanges begin that messages come from that had to wait."""

_DUE, _EXPIRES, _ATTEMPTS = "x-umbel-due", "x-umbel-expires", "x-umbel-attempts"
_DUE_FIELD, _EXPIRES_FIELD = (bytes((len(name),)) + name.encode() for name in (_DUE, _EXPIRES))
_WAITED_IN = DELAYING.encode()
_DOUBLE = ord("d")
_double_at = Struct(">d").unpack_from
_COUNT = "x-delivery-count"
_HISTORY = (
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
)
"""What RabbitMQ writes on a message that waited. With it, a message that waits again through the
same queues would be taken for one that goes round in circles, and dropped."""

_encode = msgspec.json.Encoder().encode


class Marks(msgspec.Struct, frozen=True):
    """Moments in Unix seconds."""

    due: float
    expires_at: float | None = None


def marked(
    message: Message, due: float, *, expires_at: float | None, attempts: int | None = None
) -> bytes:
    """The message's headers, with when it is due.

    Args:
        attempts: How often it has been handed out before; None: never.
    """
    fields: dict[str, object] = {_DUE: float(due)}
    if expires_at is not None:
        fields[_EXPIRES] = float(expires_at)
    head = message.headers.rstrip()
    if attempts is not None:
        fields[_ATTEMPTS] = attempts
        head = _uncounted(head)
    if not head.endswith(b"}"):
        # Not an object: refused where it is encoded.
        return message.headers
    separator = b"" if head[:-1].rstrip().endswith(b"{") else b","
    return head[:-1] + separator + _encode(fields)[1:]


def is_marked(header: bytes) -> bool:
    """Whether the content header of a message has our marks."""
    return _DUE_FIELD in header


def has_waited(header: bytes) -> bool:
    """Whether a message has been through the delaying queues, Celery's or ours."""
    return _DUE_FIELD in header or _WAITED_IN in header


def read(header: bytes) -> Marks | None:
    """The marks in a content header; None when they are not there, or not ours."""
    due = _moment(header, _DUE_FIELD)
    return None if due is None else Marks(due, _moment(header, _EXPIRES_FIELD))


def _moment(header: bytes, field: bytes) -> float | None:
    at = header.find(field) + len(field)
    if at < len(field) or at + 9 > len(header) or header[at] != _DOUBLE:
        return None
    moment: float = _double_at(header, at + 1)[0]
    return moment


def without_marks(headers: bytes) -> bytes:
    """Headers as they were before the message had to wait.

    >>> without_marks(b'{"id":"a","x-umbel-due":1.5,"x-umbel-attempts":2,"x-death":[]}')
    b'{"id":"a","x-delivery-count":2}'
    """
    try:
        document = json.loads(headers)
    except DecodeError:
        return headers
    if not is_dict(document):
        return headers
    fields = {name: value for name, value in document.items() if name not in _HISTORY}
    fields.pop(_DUE, None)
    fields.pop(_EXPIRES, None)
    attempts, count = fields.pop(_ATTEMPTS, None), fields.get(_COUNT, 0)
    if isinstance(attempts, int) and isinstance(count, int):
        fields[_COUNT] = count + attempts
    return _encode(fields)


def _uncounted(headers: bytes) -> bytes:
    """Without the count of a quorum queue, which begins anew for a new message."""
    if _COUNT.encode() not in headers:
        return headers
    document = msgspec.json.decode(headers, type=dict[str, object])
    document.pop(_COUNT, None)
    return _encode(document)
