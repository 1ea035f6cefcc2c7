"""Serializers, by name and by content type.

Source:
    kombu reference, ``kombu.serialization``: names, content types, ``register``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

import msgspec

from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
)
from umbel.protocols.serializer import Serializer
from umbel.serialization import json

__all__ = ["content_types", "dumps", "loads", "register", "serializer", "unregister"]

_TEXT_ENCODINGS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "latin-1", "iso-8859-1", "utf-16", "utf-32"}
)
"""Others take quadratic time, or are not encodings of text at all."""


class _Entry(msgspec.Struct, frozen=True):
    """A serializer made of two functions."""

    name: str
    content_type: str
    content_encoding: str
    encode: Callable[[object], bytes]
    decode: Callable[[bytes], object]

    def dumps(self, value: object) -> bytes:
        return self.encode(value)

    def loads(self, data: bytes) -> object:
        return self.decode(data)


def serializer(name_or_content_type: str) -> Serializer:
    """The serializer of that name (``json``) or content type (``application/json``).

    Raises:
        ImproperlyConfigured: There is none.
    """
    entry = _entry_by_name.get(name_or_content_type) or _entry_by_type.get(name_or_content_type)
    if entry is None:
        known = ", ".join(sorted(_entry_by_name))
        raise ImproperlyConfigured(
            f"no serializer {name_or_content_type!r:.80}; there are {known}. "
            "Others are added with umbel.serialization.registry.register."
        )
    return entry


def dumps(value: object, name: str) -> tuple[str, str, bytes]:
    """The value's content type, content encoding and bytes.

    Raises:
        EncodeError: The serializer cannot write the value.
        ImproperlyConfigured: There is no serializer of that name.
    """
    chosen = serializer(name)
    if chosen.name == "raw" and isinstance(value, str):
        return chosen.content_type, "utf-8", chosen.dumps(value)
    return chosen.content_type, chosen.content_encoding, chosen.dumps(value)


def loads(
    data: bytes, content_type: str, content_encoding: str, *, accept: frozenset[str]
) -> object:
    """The value that ``data`` stands for.

    Args:
        accept: The content types that may be read; see :func:`content_types`.

    Raises:
        ContentDisallowed: The content type is not accepted; the data was not looked at.
        SecurityError: The data is not signed by anybody trusted, where that is asked for.
        DecodeError: The data is not what its content type says.
    """
    entry = _entry_by_type.get(content_type)
    if content_type not in accept:
        named = f" ({entry.name})" if entry is not None else ""
        raise ContentDisallowed(
            f"refused content of type {content_type!r:.80}{named}: "
            f"accept_content allows {', '.join(sorted(accept)) or 'nothing'}."
        )
    if entry is None:
        raise DecodeError(f"no serializer for content of type {content_type!r:.80}.")
    if entry.name in _TEXTUAL:
        return _decode_text(data, content_encoding)
    return entry.loads(data)


def content_types(names: Iterable[str]) -> frozenset[str]:
    """The content types of serializers, for ``accept``; content types stand for themselves.

    >>> sorted(content_types(["json", "application/x-yaml"]))
    ['application/json', 'application/x-yaml']

    Raises:
        ImproperlyConfigured: A name is not a serializer's, and looks like no content type.
    """
    return frozenset(
        name if "/" in name and name not in _entry_by_type else serializer(name).content_type
        for name in names
    )


def register(
    name: str,
    encoder: Callable[[object], bytes | str],
    decoder: Callable[[bytes], object],
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer, or replace the one of that name.

    What the two functions raise reaches callers as ``EncodeError`` and ``DecodeError``.
    Registering accepts nothing: add the name to ``accept_content`` too.
    """
    unregister(name)
    entry = _Entry(
        name=name,
        content_type=content_type,
        content_encoding=content_encoding,
        encode=_guarded_dumps(name, encoder),
        decode=_guarded_loads(name, decoder),
    )
    _entry_by_name[name] = entry
    _entry_by_type[content_type] = entry


def unregister(name: str) -> None:
    """Remove a serializer; unknown names are ignored."""
    entry = _entry_by_name.pop(name, None)
    if entry is None or _entry_by_type.get(entry.content_type) is not entry:
        return
    del _entry_by_type[entry.content_type]
    # Two may share a type ("raw" and "auth" do): what was there before is there again.
    for other in _entry_by_name.values():
        if other.content_type == entry.content_type:
            _entry_by_type[other.content_type] = other


def _guarded_dumps(name: str, dumps: Callable[[object], bytes | str]) -> Callable[[object], bytes]:
    def encode(value: object) -> bytes:
        try:
            data = dumps(value)
        except EncodeError:
            raise
        except Exception as error:
            raise EncodeError(f"serializer {name!r} cannot encode: {error}") from error
        return data.encode("utf-8") if isinstance(data, str) else data

    return encode


def _guarded_loads(name: str, loads: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def decode(data: bytes) -> object:
        try:
            return loads(data)
        except (DecodeError, SecurityError):
            raise
        except Exception as error:
            raise DecodeError(f"serializer {name!r} cannot decode: {error}") from error

    return decode


def _on_demand(module: str, content_type: str, content_encoding: str) -> _Entry:
    """A serializer whose module is imported when it is first used."""

    def encode(value: object) -> bytes:
        data: bytes = import_module(f"umbel.serialization.{module}").dumps(value)
        return data

    def decode(data: bytes) -> object:
        return import_module(f"umbel.serialization.{module}").loads(data)

    return _Entry(module, content_type, content_encoding, encode, decode)


def _encode_raw(value: object) -> bytes:
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise EncodeError(f"cannot encode a {type(value).__name__} as raw bytes. Pass bytes or str.")


def _encode_text(value: object) -> bytes:
    if not isinstance(value, str):
        raise EncodeError(f"cannot encode a {type(value).__name__} as text. Pass a str.")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EncodeError(f"cannot encode as text: {error}.") from error


def _decode_text(data: bytes, content_encoding: str) -> str | bytes:
    encoding = content_encoding.lower()
    if encoding == "binary":
        return data
    if encoding not in _TEXT_ENCODINGS:
        raise DecodeError(f"cannot decode text: unknown encoding {content_encoding!r:.80}.")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DecodeError(f"cannot decode text: {error}.") from error


_TEXTUAL = frozenset({"raw", "text"})
_entry_by_name: dict[str, _Entry] = {
    entry.name: entry
    for entry in (
        _Entry("json", "application/json", "utf-8", json.dumps, json.loads),
        _on_demand("pickle", "application/x-python-serialize", "binary"),
        _on_demand("yaml", "application/x-yaml", "utf-8"),
        _on_demand("msgpack", "application/x-msgpack", "binary"),
        _Entry("raw", "application/data", "binary", _encode_raw, bytes),
        _Entry("text", "text/plain", "utf-8", _encode_text, bytes.decode),
    )
}
_entry_by_type: dict[str, _Entry] = {entry.content_type: entry for entry in _entry_by_name.values()}
