"""``repr`` for messages and logs: bounded in length, depth and time, and never raising.

Source:
    Celery reference, ``celery.utils.saferepr``; forms observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any

__all__ = ["saferepr"]

# Typed, because the checkers lose what type() gives of an Any.
_type: Callable[[object], type] = type
_SCALARS: frozenset[type] = frozenset({int, bool, NoneType, float})
_SHORT = 16
_CUT = "..."

_BRACKETS_BY_KIND: tuple[tuple[type, str, str], ...] = (
    (dict, "{", "}"),
    (list, "[", "]"),
    (tuple, "(", ")"),
    (frozenset, "frozenset({", "})"),
    (set, "{", "}"),
)
_EMPTY_BY_KIND: dict[type, str] = {
    dict: "{}",
    list: "[]",
    tuple: "()",
    frozenset: "frozenset()",
    set: "set()",
}


def saferepr(o: object, maxlen: int | None = 1024, maxlevels: int = 3) -> str:
    """What ``repr`` says, in at most about ``maxlen`` characters and ``maxlevels`` levels.

    What is left out is shown as ``...``. Subclasses of containers are shown as what they are
    subclasses of. Never raises, whatever ``__repr__`` does.

    >>> saferepr((2, {"y": [1, [2]]})), saferepr("x" * 9, maxlen=5)
    ("(2, {'y': [1, [...]]})", "'xxxxx...'")
    """
    quick = _quick(o)
    if quick is not None and (maxlen is None or len(quick) <= maxlen):
        return quick
    return _Writer(maxlen, maxlevels).text(o)


def _quick(value: Any) -> str | None:
    """The whole ``repr`` of what is short and flat, as most arguments and results are."""
    kind = _type(value)
    if kind in _SCALARS or (kind is str and len(value) < 1024):
        return _plain(value)
    if kind is tuple or kind is list:
        items: Iterable[Any] = value
    elif kind is dict:
        items = value.values()
        for key in value:
            if type(key) is not str:
                return None
    else:
        return None
    if len(value) > _SHORT:
        return None
    for item in items:
        if type(item) not in _SCALARS and not (type(item) is str and len(item) < 1024):
            return None
    return _plain(value)


def _plain(value: object) -> str | None:
    try:
        return repr(value)
    except ValueError:
        # An integer of more than 4300 digits.
        return None


class _Full(Exception):
    """The text is as long as it may be."""


class _Writer:
    """Writes one value; ends early when the text is full."""

    def __init__(self, maxlen: int | None, maxlevels: int) -> None:
        self._room = maxlen if maxlen is not None else 1 << 62
        self._maxlevels = maxlevels
        self._parts: list[str] = []
        self._open: list[str] = []
        self._inside: set[int] = set()

    def text(self, value: object) -> str:
        try:
            self._write(value, 0)
        except _Full:
            self._parts += reversed(self._open)
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        if len(text) <= self._room:
            self._room -= len(text)
            self._parts.append(text)
            return
        self._parts.append(text[: self._room] + _CUT)
        raise _Full

    def _write(self, value: object, level: int) -> None:
        if isinstance(value, str | bytes):
            self._write_text(value, "'", repr)
        else:
            for kind, opening, closing in _BRACKETS_BY_KIND:
                if isinstance(value, kind):
                    self._write_container(value, kind, opening, closing, level)
                    return
            self._put(_represent(value))

    def _write_text(self, value: Any, quote: str, represent: Callable[[Any], str]) -> None:
        # Cut before it is quoted: quoting megabytes to show a kilobyte costs milliseconds.
        if len(value) <= self._room:
            self._put(represent(value[:]))
            return
        shown = represent(value[: self._room])[:-1]
        # Again when it is quoted: a character takes up to ten as an escape. One for the quote.
        self._parts.append(shown[: self._room + len(quote)] + _CUT + quote)
        raise _Full

    def _write_container(
        self, value: Any, kind: type, opening: str, closing: str, level: int
    ) -> None:
        if id(value) in self._inside:
            self._put(f"<Recursion on {kind.__name__} with id={id(value)}>")
            return
        if level >= self._maxlevels:
            self._put(f"{opening}{_CUT}{closing}")
            return
        try:
            empty = not len(value)
        except Exception:  # noqa: BLE001 - a subclass is user code
            self._put(_unrepresentable(value))
            return
        if empty:
            self._put(_EMPTY_BY_KIND[kind])
            return
        if kind is tuple and len(value) == 1:
            closing = ",)"
        self._put(opening)
        self._open.append(closing)
        self._inside.add(id(value))
        self._write_items(value, kind, level)
        self._inside.discard(id(value))
        self._open.pop()
        self._put(closing)

    def _write_items(self, value: Any, kind: type, level: int) -> None:
        for index, item in enumerate(_items(value, kind)):
            if index:
                self._put(", ")
            if kind is dict:
                self._write(item[0], level + 1)
                self._put(": ")
                self._write(item[1], level + 1)
            else:
                self._write(item, level + 1)


def _items(value: Any, kind: Any) -> Iterable[Any]:
    """What is in a container, by the base's own iteration: a subclass is not asked."""
    iterate: Callable[[Any], Iterable[Any]] = getattr(kind, "items", kind.__iter__)
    return iterate(value)


def _represent(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - __repr__ is user code
        return _unrepresentable(value)


def _unrepresentable(value: object) -> str:
    return f"<Unrepresentable {type(value)!r}: 0x{id(value):x}>"
