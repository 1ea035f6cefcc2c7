"""MessagePack, the same bytes as kombu's.

Source:
    kombu reference, ``kombu.serialization``: strings as str, bytes as bin.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any

import msgspec

from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization.culprit import refusal

__all__ = ["dumps", "loads"]

# Typed, because the checkers lose what type() gives of an Any.
_type: Callable[[object], type] = type
_SCALARS: frozenset[type] = frozenset({int, str, bool, NoneType, float, bytes})
_BASES: tuple[type[str | int | float | bytes], ...] = (str, int, float, bytes)
_HINT = "Pass something simpler, or use task_serializer='pickle'."

_encode = msgspec.msgpack.Encoder().encode


def dumps(value: object) -> bytes:
    """The value as MessagePack.

    Raises:
        EncodeError: Names the type that cannot be written, and where it sits.
    """
    try:
        return _encode(_plain(value))
    except RecursionError as error:
        raise EncodeError(
            "cannot encode as MessagePack: the value is nested too deeply."
        ) from error
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise refusal(value, form="MessagePack", encodes=_encodes, hint=_HINT) from error


def loads(data: bytes) -> object:
    """The value that ``data`` stands for; timestamps are aware datetimes.

    Raises:
        DecodeError: It is not MessagePack, is nested too deeply, or holds an extension type.
    """
    try:
        return msgspec.msgpack.decode(data, ext_hook=_refuse_extension)
    except RecursionError as error:
        raise DecodeError("cannot decode MessagePack: it is nested too deeply.") from error
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise DecodeError(f"cannot decode MessagePack: {error}.") from error


def _plain(value: Any) -> Any:
    """The value in the types that MessagePack has; msgspec would write others in its own way."""
    kind = _type(value)
    if kind in _SCALARS:
        return value
    if issubclass(kind, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if issubclass(kind, list | tuple):
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [_plain(item) for item in value]
    for base in _BASES:
        if issubclass(kind, base):
            convert: Callable[[Any], object] = base
            return convert(value)
    raise TypeError(f"{kind!r} is not MessagePack")


def _encodes(value: object) -> bool:
    try:
        _encode(_plain(value))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return False
    return True


def _refuse_extension(code: int, _data: memoryview) -> object:
    raise ValueError(f"extension type {code} is not known")
