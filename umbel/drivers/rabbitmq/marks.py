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
    "attempts",
    "has_waited",
    "is_marked",
    "marked",
    "read",
    "without_marks",
]

DELAYING = "celery_delayed_"
"""How the names of the exchanges begin that messages come from that had to wait."""

_DUE, _EXPIRES, _ATTEMPTS = "x-umbel-due", "x-umbel-expires", "x-umbel-attempts"
_DUE_FIELD, _EXPIRES_FIELD, _ATTEMPTS_FIELD = (
    bytes((len(name),)) + name.encode() for name in (_DUE, _EXPIRES, _ATTEMPTS)
)
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

_OURS = frozenset((*_HISTORY, _DUE, _EXPIRES, _ATTEMPTS))
_MOST_ATTEMPTS = 1 << 31

_encode = msgspec.json.Encoder().encode


class Marks(msgspec.Struct, frozen=True):
    """Moments in Unix seconds."""

    due: float
    expires_at: float | None = None


def marked(
    message: Message,
    due: float,
    *,
    expires_at: float | None,
    attempts: int | None = None,
) -> bytes:
    """The message's headers, with when it is due.

    Args:
        attempts: How often its holders have died; None: it was never handed out.
    """
    fields: dict[str, object] = {_DUE: float(due)}
    if expires_at is not None:
        fields[_EXPIRES] = float(expires_at)
    head = message.headers.rstrip()
    if attempts is not None:
        fields[_ATTEMPTS] = float(attempts)
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


def attempts(header: bytes) -> int | None:
    """How often a message's holders have died, as it says itself; None: it does not."""
    counted = _moment(header, _ATTEMPTS_FIELD)
    return None if counted is None or not 0 <= counted < _MOST_ATTEMPTS else int(counted)


def _moment(header: bytes, field: bytes) -> float | None:
    at = header.find(field) + len(field)
    if at < len(field) or at + 9 > len(header) or header[at] != _DOUBLE:
        return None
    moment: float = _double_at(header, at + 1)[0]
    return moment


def without_marks(headers: bytes) -> bytes:
    """Headers as they were before the message had to wait.

    >>> without_marks(b'{"id":"a","x-umbel-due":1.5,"x-umbel-attempts":2.0,"x-death":[]}')
    b'{"id":"a"}'
    """
    try:
        document = json.loads(headers)
    except DecodeError:
        return headers
    if not is_dict(document):
        return headers
    return _encode({name: value for name, value in document.items() if name not in _OURS})


def _uncounted(headers: bytes) -> bytes:
    """Without the count of a quorum queue, which begins anew for a new message."""
    if _COUNT.encode() not in headers:
        return headers
    document = msgspec.json.decode(headers, type=dict[str, object])
    document.pop(_COUNT, None)
    return _encode(document)
