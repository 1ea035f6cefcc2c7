"""What is called when a result turns out to be ready."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

__all__ = ["Callbacks"]

Callback = Callable[[Any], object]


class Callbacks:
    """Called once each, with the result, by whoever finds it ready."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Callback | None], Callback | None]] = []

    def add(self, callback: Callback, on_error: Callback | None, *, weak: bool) -> None:
        """Call ``callback`` too.

        Args:
            on_error: Called with the exception that ``callback`` raises, which then goes no
                further.
            weak: Whether the callback is dropped when nobody else holds it.
        """
        self._waiting.append((_weak(callback) if weak else lambda: callback, on_error))

    def fire(self, result: object) -> None:
        """Call them."""
        waiting, self._waiting = self._waiting, []
        for find, on_error in waiting:
            callback = find()
            if callback is None:
                continue
            try:
                callback(result)
            except Exception as error:
                if on_error is None:
                    raise
                on_error(error)

    def throw(self, error: BaseException) -> None:
        """Tell every ``on_error`` instead."""
        waiting, self._waiting = self._waiting, []
        for _, on_error in waiting:
            if on_error is not None:
                on_error(error)


def _weak(callback: Callback) -> Callable[[], Callback | None]:
    if isinstance(callback, MethodType):
        return weakref.WeakMethod(callback)
    return weakref.ref(callback)
