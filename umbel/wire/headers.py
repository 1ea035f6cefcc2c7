"""The headers of a message, all of them; for contexts, retries and people.

The hot path reads the few it needs by itself (:mod:`umbel.wire.tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Message
from umbel.serialization import json
from umbel.serialization.shapes import is_dict

__all__ = ["AGAIN", "PUBLICATION", "changed", "compression", "read", "with_publication"]

PUBLICATION = "umbel_publication"
"""The header that says which publication of a task this is, where there may be several: of the
body of a chord, when a worker died after publishing and before noting it."""

AGAIN = "again"
"""The publication of what follows a task that was delivered more than once: it may have been
published before, and have run."""


def read(message: Message) -> dict[str, object]:
    """All headers of the message, decoded.

    Raises:
        DecodeError: They are not a JSON object.
    """
    headers = json.loads(message.headers)
    if not is_dict(headers):
        raise DecodeError(f"the headers are of type {type(headers).__name__}, not a mapping.")
    return headers


def changed(message: Message, changes: Mapping[str, object]) -> Message:
    """The same message with some other headers.

    Raises:
        DecodeError: Those that it has are not a JSON object.
    """
    return msgspec.structs.replace(message, headers=json.dumps({**read(message), **changes}))


def with_publication(message: Message, publication: str) -> Message:
    """The same message, saying which publication it is."""
    return changed(message, {PUBLICATION: publication})


def compression(message: Message) -> str | None:
    """The mime type that the body is compressed as, if it is.

    Raises:
        DecodeError: The header is not a string.
    """
    if b'"compression"' not in message.headers:
        return None
    mime = read(message).get("compression")
    if mime is None or isinstance(mime, str):
        return mime
    raise DecodeError(f"the header 'compression' is of type {type(mime).__name__}, not a string.")
