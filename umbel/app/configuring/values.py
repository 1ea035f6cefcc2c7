"""Whether a value is one that its setting can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta, tzinfo
from functools import cache
from typing import Any

import msgspec

from umbel.app.defaults import Setting
from umbel.exceptions import InvalidSetting

__all__ = ["KINDS", "accepted", "described", "parsed"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Any: checks that ask for collections would make unknown what is in them.
def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _are_texts(value: Any) -> bool:
    return _is_sequence(value) and all(isinstance(one, str) for one in value)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "any": ("anything", lambda _: True),
    "bool": ("True or False", lambda value: isinstance(value, bool) or value in (0, 1)),
    "bytes": ("bytes", lambda value: isinstance(value, bytes)),
    "callable": ("a function", callable),
    "class": ("a class", lambda value: isinstance(value, type)),
    "dict": ("a dict", lambda value: isinstance(value, Mapping)),
    "float": ("a number", _is_number),
    "int": ("an integer", lambda value: _is_number(value) and value == value // 1),
    "list": ("a list", lambda value: isinstance(value, list | tuple | set | frozenset | str)),
    "None": ("None", lambda value: value is None),
    "str": ("a string", lambda value: isinstance(value, str) or hasattr(value, "__fspath__")),
    "timedelta": ("a timedelta", lambda value: isinstance(value, timedelta)),
    "timezone": ("a tzinfo", lambda value: isinstance(value, tzinfo)),
    "url": (
        "a URL or a list of them",
        lambda value: isinstance(value, str) or _are_texts(value),
    ),
}
"""What the words of :attr:`Setting.kind` are called, and which values they mean."""


@cache
def _kinds(kind: str) -> tuple[str, ...]:
    return tuple(kind.split(" | "))


def described(kind: str) -> str:
    """A kind, in words.

    >>> described("float | timedelta | None")
    'a number, a timedelta or None'
    """
    *most, last = (KINDS[one][0] for one in _kinds(kind))
    return f"{', '.join(most)} or {last}" if most else last


def accepted(setting: Setting, value: Any, origin: str) -> Any:
    """The value in the form that is kept.

    Args:
        origin: Where it comes from, for the error.

    Raises:
        InvalidSetting: The setting cannot have it.
    """
    for kind in _kinds(setting.kind):
        if KINDS[kind][1](value):
            value = _kept(kind, value)
            break
    else:
        raise _invalid(setting, value, described(setting.kind), origin)
    if setting.choices and value not in setting.choices:
        choices = [*map(repr, setting.choices)]
        raise _invalid(setting, value, f"{', '.join(choices[:-1])} or {choices[-1]}", origin)
    if setting.least is not None and _too_small(value, setting.least):
        raise _invalid(setting, value, f"at least {setting.least:g}", origin)
    return value


def _kept(kind: str, value: Any) -> Any:
    if kind == "bool":
        return bool(value)
    if kind == "int":
        return int(value)
    if kind == "list":
        return _as_list(value)
    if kind == "str" and not isinstance(value, str):
        return str(value)
    if kind == "url" and not isinstance(value, str):
        return ";".join(value)
    return value


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [part for part in map(str.strip, value.split(",")) if part]
    if _is_sequence(value):
        return value
    # A set has no order; the same configuration should give the same list everywhere.
    return sorted(value, key=str)


def _too_small(value: Any, least: float) -> bool:
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return _is_number(number) and not number >= least


def _invalid(setting: Setting, value: Any, expected: str, origin: str) -> InvalidSetting:
    # Only errors need it: its patterns cost a millisecond to compile.
    from umbel.app.configuring.censor import censored

    shown = censored(setting.name, value)
    return InvalidSetting(
        f"{setting.name} must be {expected}, not {shown!r} ({type(value).__name__}), "
        f"as it is {origin}. {setting.text}"
    )


def parsed(setting: Setting, text: str, origin: str) -> Any:
    """The value that a text on the command line or in the environment means.

    Raises:
        InvalidSetting: It means none that the setting can have.

    >>> from umbel.app.defaults import SETTINGS
    >>> parsed(SETTINGS["task_acks_late"], "yes", "on the command line")
    True
    """
    for kind in _kinds(setting.kind):
        try:
            value = _READERS.get(kind, str)(text)
        except (ValueError, KeyError, msgspec.DecodeError):
            # Not of this kind; it may be of the next one.
            continue
        return accepted(setting, value, origin)
    raise _invalid(setting, text, described(setting.kind), origin)


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(text)


def _mapping(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def _nothing(text: str) -> None:
    if text.strip().lower() not in {"", "none", "null"}:
        raise ValueError(text)


def _never(text: str) -> Any:
    raise ValueError(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _truth,
    "bytes": str.encode,
    "callable": _never,
    "class": _never,
    "dict": _mapping,
    "float": float,
    "int": int,
    "None": _nothing,
    "timedelta": _never,
    "timezone": _never,
}
