"""Texts for values.

Source:
    Celery reference, ``celery.utils.serialization``: names and behaviour.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeVar

__all__ = ["b64decode", "b64encode", "strtobool"]

T = TypeVar("T")

_TRUTH = {
    **dict.fromkeys(("true", "yes", "1", "on"), True),
    **dict.fromkeys(("false", "no", "0", "off"), False),
}


def b64encode(s: str | bytes) -> str:
    """Base64 of bytes, or of a text in UTF-8.

    >>> b64encode("héllo")
    'aMOpbGxv'
    """
    return base64.b64encode(s.encode() if isinstance(s, str) else s).decode()


def b64decode(s: str | bytes) -> bytes:
    """The bytes that :func:`b64encode` was given."""
    return base64.b64decode(s)


def strtobool(term: str | T, table: Mapping[str, bool] | None = None) -> bool | T:
    """True or false from a word for it; what is no text is what it is.

    Args:
        table: The words; None: true, yes, on, 1 and false, no, off, 0.

    Raises:
        TypeError: The text is none of the words.

    >>> strtobool("Yes")
    True
    """
    if not isinstance(term, str):
        return term
    words = _TRUTH if table is None else table
    try:
        return words[term.lower()]
    except KeyError:
        raise TypeError(f"{term!r} is none of {', '.join(words)}") from None
