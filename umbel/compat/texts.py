"""Texts of values and bytes, as ``kombu.utils.encoding``, ``.json``, ``.url`` and
``kombu.serialization`` make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from umbel.exceptions import DecodeError
from umbel.serialization import json, registry

__all__ = [
    "bytes_to_str",
    "deserialized",
    "json_dumps",
    "json_loads",
    "safe_str",
    "safequote",
    "serialized",
    "str_to_bytes",
]


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


def serialized(data: Any, serializer: str | None = None) -> tuple[str, str, str | bytes]:
    """``kombu.serialization.dumps``: content type, encoding, and content, which is text where the
    serializer writes text.

    >>> serialized([1], "json"), serialized("a")
    (('application/json', 'utf-8', '[1]'), ('text/plain', 'utf-8', b'a'))

    Raises:
        EncodeError: The serializer cannot write it.
    """
    if serializer is None and isinstance(data, str):
        return "text/plain", "utf-8", data.encode()
    if serializer is None and isinstance(data, bytes):
        return "application/data", "binary", data
    kind, encoding, written = registry.dumps(data, serializer or "json")
    is_text = encoding == "utf-8" and serializer != "raw"
    return kind, encoding, written.decode() if is_text else written


def deserialized(
    data: str | bytes,
    content_type: str,
    content_encoding: str,
    accept: Iterable[str] | None = None,
    force: bool = False,
) -> Any:
    """``kombu.serialization.loads``: what was written.

    Args:
        accept: The serializers, or content types, that may be read: JSON and text, unless given.
        force: Read it, whatever it is.

    Raises:
        ContentDisallowed: It may not be read.
        DecodeError: It is not what its content type says.
    """
    wanted = (content_type,) if force else accept or ("json", "text")
    content = data.encode() if isinstance(data, str) else data
    return registry.loads(
        content, content_type, content_encoding, accept=registry.content_types(wanted)
    )


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
