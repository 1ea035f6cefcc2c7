"""Celery's JSON: plain values, and ``{"__type__": …, "__value__": …}`` for the others.

What JSON keeps as it is goes through msgspec; everything else takes the standard library's
path, which writes what kombu writes: NaN, subclasses, keys that are not strings, dates.

Source:
    kombu reference, ``kombu.utils.json``; forms observed with kombu 5.7.
"""

from __future__ import annotations

import binascii
import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from math import isfinite
from types import NoneType
from typing import Any

import msgspec

from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization.culprit import refusal

__all__ = ["dumps", "is_plain", "loads", "register_type"]

# Typed, because the checkers lose what type() gives of an Any.
_type: Callable[[object], type] = type
_SCALARS: frozenset[type] = frozenset({int, str, bool, NoneType})
_FLOATS: frozenset[type] = frozenset({float})
_KEYS: frozenset[type] = frozenset({str})

_HINT = (
    "Pass something simpler, register a type with umbel.serialization.json.register_type, "
    "or use task_serializer='pickle'."
)

_encode_plain = msgspec.json.Encoder().encode
_decode_plain = msgspec.json.Decoder().decode


def is_plain(value: Any) -> bool:
    """Whether JSON gives the value back as it is (tuples as lists).

    msgspec writes sets, dates and NaN too, each in a form of its own that nothing reads back;
    hence this walk before it.

    >>> is_plain({"x": [1, "a", None, 0.5]}), is_plain({1: 2}), is_plain([float("nan")])
    (True, False, False)
    """
    kind = _type(value)
    if kind in _SCALARS:
        return True
    if kind is list or kind is tuple:
        items = value
    elif kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            return False
        items = value.values()
    else:
        return kind is float and isfinite(value)
    if _SCALARS.issuperset(map(type, items)):
        return True
    if _FLOATS.issuperset(map(type, items)):
        return all(map(isfinite, items))
    return all(map(is_plain, items))


def dumps(value: object) -> bytes:
    """The value as JSON, UTF-8.

    Raises:
        EncodeError: Names the type that cannot be written, and where it sits.
    """
    try:
        if is_plain(value):
            return _encode_plain(value)
    except (UnicodeEncodeError, RecursionError):
        # A lone surrogate, which the other path escapes; or too deep, which it reports.
        pass
    except ValueError as error:
        raise EncodeError(f"cannot encode an integer as JSON: {error}.") from error
    return _dumps_extended(value)


def loads(data: bytes | str) -> object:
    """The value that ``data`` stands for.

    Raises:
        DecodeError: It is not JSON, nested too deeply, or holds an unknown ``__type__``.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    tagged = b'"__type__"' in data
    if not tagged:
        try:
            return _decode_plain(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # NaN, lone surrogates and 1e400 are not JSON, but kombu writes and reads them.
            pass
        except RecursionError as error:
            raise DecodeError("cannot decode JSON: it is nested too deeply.") from error
    return _loads_extended(data, tagged=tagged)


def register_type(
    cls: type,
    marker: str,
    encode: Callable[[Any], object],
    decode: Callable[[Any], object],
) -> None:
    """Write instances of ``cls`` as ``{"__type__": marker, "__value__": encode(value)}``.

    Both sides must register the type. Subclasses are written the same way, unless registered
    themselves. Registering again replaces.

    Source:
        kombu reference, ``kombu.utils.json.register_type``.
    """
    _encoder_by_type[cls.__module__, cls.__qualname__] = lambda value: (marker, encode(value))
    _decoder_by_marker[marker] = decode


def _dumps_extended(value: object) -> bytes:
    try:
        return _encode_extended(value).encode("ascii")
    except RecursionError as error:
        raise EncodeError("cannot encode as JSON: the value is nested too deeply.") from error
    except Exception as error:
        raise refusal(value, form="JSON", encodes=_encodes, hint=_HINT) from error


def _loads_extended(data: bytes, *, tagged: bool) -> object:
    try:
        return json.loads(data.decode("utf-8"), object_hook=_restore if tagged else None)
    except DecodeError:
        raise
    except RecursionError as error:
        raise DecodeError("cannot decode JSON: it is nested too deeply.") from error
    except ValueError as error:
        raise DecodeError(f"cannot decode JSON: {error}.") from error


def _encodes(value: object) -> bool:
    try:
        _encode_extended(value)
    except Exception:  # noqa: BLE001 - as in _dumps_extended
        return False
    return True


def _default(value: Any) -> object:
    """What to write for a value that JSON does not know."""
    promised = getattr(value, "__json__", None)
    if promised is not None and not isinstance(value, type):
        return promised()
    kind = _type(value)
    for cls in kind.__mro__:
        encoder = _encoder_by_type.get((cls.__module__, cls.__qualname__))
        if encoder is not None:
            marker, form = encoder(value)
            return {"__type__": marker, "__value__": form}
    django = sys.modules.get("django.utils.functional")
    if django is not None and isinstance(value, django.Promise):
        return str(value)
    raise TypeError(f"{type(value)!r} is not JSON")


def _restore(document: dict[str, Any]) -> object:
    """The value behind ``{"__type__": …, "__value__": …}``; other objects are left alone."""
    if len(document) != 2 or "__type__" not in document or "__value__" not in document:
        return document
    marker = document["__type__"]
    decode = _decoder_by_marker.get(marker) if isinstance(marker, str) else None
    if decode is None:
        raise DecodeError(
            f"cannot decode JSON: no type {_short(marker)} is registered with "
            "umbel.serialization.json.register_type."
        )
    try:
        return decode(document["__value__"])
    except Exception as error:
        raise DecodeError(
            f"cannot decode JSON: {_short(document['__value__'])} is no {marker}."
        ) from error


def _short(value: object) -> str:
    return f"{value!r:.80}" if isinstance(value, str) else f"of type {type(value).__name__}"


def _bytes_form(value: bytes) -> tuple[str, str]:
    try:
        return "bytes", value.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", binascii.b2a_base64(value, newline=False).decode("ascii")


def _uuid(form: dict[str, str]) -> object:
    # uuid costs 5 ms to import; whoever receives one pays for it.
    from uuid import UUID

    return UUID(hex=form["hex"])


def _decimal(form: str) -> object:
    # decimal costs 3 ms to import; whoever receives one pays for it.
    from decimal import Decimal

    return Decimal(form)


# By name, so that the modules of types nobody uses need not be imported.
_encoder_by_type: dict[tuple[str, str], Callable[[Any], tuple[str, object]]] = {
    ("datetime", "datetime"): lambda value: ("datetime", value.isoformat()),
    ("datetime", "date"): lambda value: ("date", value.isoformat()),
    ("datetime", "time"): lambda value: ("time", value.isoformat()),
    ("decimal", "Decimal"): lambda value: ("decimal", str(value)),
    ("uuid", "UUID"): lambda value: ("uuid", {"hex": value.hex}),
    ("builtins", "bytes"): _bytes_form,
}
_decoder_by_marker: dict[str, Callable[[Any], object]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": _decimal,
    "uuid": _uuid,
    "bytes": lambda form: form.encode("utf-8"),
    "base64": lambda form: binascii.a2b_base64(form.encode("ascii")),
}

_encode_extended = json.JSONEncoder(default=_default, separators=(",", ":")).encode
