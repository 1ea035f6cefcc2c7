"""Texts of values and bytes, as ``kombu.utils.encoding``, ``.json`` and ``.url`` make them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from umbel.exceptions import DecodeError
from umbel.serialization import json

__all__ = ["bytes_to_str", "json_dumps", "json_loads", "safe_str", "safequote", "str_to_bytes"]


def bytes_to_str(s: Any) -> Any:
    """Bytes as text; what cannot be decoded becomes U+FFFD. Anything else is what it is."""
    return s.decode(errors="replace") if isinstance(s, bytes) else s


def str_to_bytes(s: Any) -> Any:
    """A text in UTF-8; anything else is what it is."""
    return s.encode() if isinstance(s, str) else s


def safe_str(s: object, errors: str = "replace") -> str:
    """Any object as text, even if it has no fit ``str``."""
    if isinstance(s, bytes):
        return s.decode(errors=errors)
    try:
        return str(s)
    except Exception as problem:  # noqa: BLE001 - it is to be shown, come what may
        return f"<Unrepresentable {type(s)!r}: {problem!r}>"


def safequote(text: str) -> str:
    """A text as a part of a URL: user, password.

    >>> safequote("a/b@c")
    'a%2Fb%40c'
    """
    return quote(text, safe="")


def json_dumps(s: object) -> str:
    """A value as JSON, with Celery's notation of dates and the like.

    Raises:
        EncodeError: It holds what JSON cannot say.
    """
    return json.dumps(s).decode()


def json_loads(s: str | bytes) -> Any:
    """The value that JSON says.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return json.loads(s)
    except DecodeError as error:
        raise ValueError(str(error)) from error
