"""Which part of a value cannot be serialized, and how to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.exceptions import EncodeError

__all__ = ["refusal", "renamed"]

_ROOT = "value"
_DEEPEST = 50
_WIDEST = 10_000


def refusal(
    value: object, *, form: str, encodes: Callable[[object], bool], hint: str
) -> EncodeError:
    """The error for a value that cannot be written: which type sits where, and what to do.

    Args:
        form: The serializer, for people: ``JSON``.
        encodes: Whether the serializer can write a value, alone.
        hint: What the caller can do, a sentence.
    """
    path, culprit = _locate(value, encodes)
    kind = type(culprit)
    where = "" if path == _ROOT else f" at {path}"
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(culprit, dict):
        what = "a dict with keys that are not strings"
    elif kind.__module__ == "builtins":
        what = f"an instance of {kind.__qualname__!r}"
    else:
        what = f"an instance of {name!r}"
    return EncodeError(f"cannot encode {what}{where} as {form}. {hint}")


def renamed(error: EncodeError, names: Mapping[str, str]) -> EncodeError:
    """The same error, with the roots of its path under the names the caller knows.

    >>> str(renamed(EncodeError("no 'X' at value[0][1] as JSON"), {"value[0]": "args"}))
    "no 'X' at args[1] as JSON"
    """
    text = str(error)
    for root, name in names.items():
        text = text.replace(f" at {root}", f" at {name}", 1)
    return EncodeError(text)


def _locate(value: object, encodes: Callable[[object], bool]) -> tuple[str, object]:
    path = _ROOT
    for _ in range(_DEEPEST):
        step = _bad_child(value, encodes)
        if step is None:
            break
        path, value = path + step[0], step[1]
    return path, value


def _bad_child(value: Any, encodes: Callable[[object], bool]) -> tuple[str, object] | None:
    children: Iterable[tuple[str, Any]]
    if issubclass(type(value), dict):
        children = ((f"[{key!r}]", item) for key, item in value.items() if isinstance(key, str))
    elif issubclass(type(value), list | tuple):
        children = ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    for _, (step, item) in zip(range(_WIDEST), children, strict=False):
        if not encodes(item):
            return step, item
    return None
