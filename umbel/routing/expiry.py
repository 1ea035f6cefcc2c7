"""When a broker drops a message that nobody has received."""

from __future__ import annotations

from umbel.model import Message

__all__ = ["drop_time"]


def drop_time(message: Message, *, message_ttl: float | None, now: float) -> float | None:
    """Unix seconds from which the message is no longer handed out; None: never.

    An expiry that the headers tell is the worker's business: it records that the task expired,
    so that nobody waits for its result for ever.

    Args:
        message_ttl: The queue's, in seconds.
    """
    expires_at = message.expires_at
    if expires_at is not None and _tells_expiry(message.headers):
        expires_at = None
    if message_ttl is None:
        return expires_at
    return now + message_ttl if expires_at is None else min(expires_at, now + message_ttl)


def _tells_expiry(headers: bytes) -> bool:
    """By a look at the text: exact enough, and a hundred times cheaper than reading it.

    >>> _tells_expiry(b'{"expires":null}'), _tells_expiry(b'{"expires": "2026-01-01"}')
    (False, True)
    """
    start = headers.find(b'"expires":')
    return start >= 0 and not headers[start + 10 :].lstrip().startswith(b"null")
