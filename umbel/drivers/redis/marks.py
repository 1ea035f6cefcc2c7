"""What we write into envelopes and tags, as ``scripts/envelope.lua`` reads it."""

from __future__ import annotations

from umbel.model import Message

__all__ = ["MARK", "counted", "has", "marked", "times_handed_out", "unmarked", "was_handed_out"]

MARK = b'{"umbel":'
"""How an envelope begins that says something about its time or its deliveries."""


def marked(raw: bytes, message: Message) -> bytes:
    """The envelope with what its headers do not say about its time, as its first key.

    An expiry in the headers is for the worker, which records that the task expired; one that
    only the message knows is for the script that takes it.
    """
    due = "" if message.not_before is None else f"{message.not_before:.6f}"
    expires = message.expires_at
    if expires is None or has(message.headers, b"expires"):
        until = ""
    else:
        until = f"{max(expires, 0.0):.6f}"
    if not due and not until:
        return raw
    return b'{"umbel":"0|%b|%b",%b' % (due.encode(), until.encode(), raw[1:])


def has(headers: bytes, name: bytes) -> bool:
    """Whether a header is there and is not null, by a look at the text.

    >>> has(b'{"eta":null}', b"eta"), has(b'{"eta": "2026-01-01T00:00:00+00:00"}', b"eta")
    (False, True)
    """
    start = headers.find(b'"%b":' % name)
    return start >= 0 and not headers[start + len(name) + 3 :].lstrip().startswith(b"null")


def unmarked(raw: bytes) -> bytes:
    """The envelope without the key that is ours."""
    end = raw.find(b'",', len(MARK))
    return raw if end < 0 else b"{" + raw[end + 2 :].lstrip()


def counted(mark: object) -> str:
    """The mark of a message whose holder, a Celery worker, died.

    >>> counted(None), counted("2||1800000000.5|r")
    ('1|||r', '3||1800000000.5|r')
    """
    handed, due, expires, *_ = [*str(mark or "0||").split("|"), "", ""]
    return f"{int(handed) + 1}|{due}|{expires}|r"


def was_handed_out(raw: bytes) -> bool:
    """Whether a marked envelope was handed out before.

    >>> was_handed_out(b'{"umbel":"0|||r","body":""}'), was_handed_out(b'{"umbel":"0||9","a":1}')
    (True, False)
    """
    return raw.startswith((b'|r"', b'|s"'), raw.find(b'"', len(MARK) + 1) - 2)


def times_handed_out(tag: str) -> int:
    """How often the message of a tag had been handed out before."""
    return int(tag.split("|", 5)[3])
