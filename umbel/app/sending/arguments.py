"""Checking a call's arguments against the function's signature, where the call is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["ArgumentCheck", "complete"]

_NO_KEYWORDS: Mapping[str, Any] = {}

_VAR_POSITIONAL = 0x04
_VAR_KEYWORD = 0x08


def complete(args: Any, kwargs: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a call: nothing stands for none.

    Raises:
        TypeError: They are not a sequence and a mapping.
    """
    positional, named = _nothing(args, ()), _nothing(kwargs, _NO_KEYWORDS)
    # Sequence is an abstract class: ten times as slow to ask.
    if positional.__class__ not in {list, tuple} and not _is_sequence(positional):
        message = f"args={args!r:.100} are not the arguments of a call: expected a sequence"
        raise TypeError(message)
    if not _is_mapping(named):
        message = f"kwargs={kwargs!r:.100} are not keyword arguments: expected a mapping"
        raise TypeError(message)
    return tuple(positional), named


def _nothing(value: Any, instead: Any) -> Any:
    return instead if value is None else value


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


class ArgumentCheck:
    """Raises ``TypeError`` for arguments that a function would refuse; 0.3 µs when they fit.

    Source:
        Celery reference, ``Task.typing``.
    """

    __slots__ = ("_function", "_most", "_required", "_skip")

    def __init__(self, function: Callable[..., Any], *, bound: bool) -> None:
        self._function = function
        self._skip = 1 if bound else 0
        code = getattr(function, "__code__", None)
        if code is None or code.co_kwonlyargcount or code.co_flags & _VAR_KEYWORD:
            # Not countable: always ask inspect.
            self._required, self._most = 1, 0
            return
        defaults = len(getattr(function, "__defaults__", None) or ())
        self._required = code.co_argcount - self._skip - defaults
        unlimited = code.co_flags & _VAR_POSITIONAL
        self._most = 1 << 30 if unlimited else code.co_argcount - self._skip

    def __call__(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Raises: TypeError: the function would not take these."""
        if not kwargs and self._required <= len(args) <= self._most:
            return
        # Only calls with keywords come here; inspect costs 15 ms to import.
        import inspect

        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError):
            return
        name = getattr(self._function, "__name__", repr(self._function))
        try:
            signature.bind(*([None] * self._skip), *args, **kwargs)
        except TypeError as error:
            message = f"{name}() {error}"
            raise TypeError(message) from None
