"""Arguments of entries that are worked out anew for each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["BeatLazyFunc", "evaluated"]


class BeatLazyFunc:
    """An argument in ``beat_schedule`` that is called whenever the entry is run.

    ``{"kwargs": {"today": BeatLazyFunc(date.today)}}``

    Source:
        Celery reference, ``celery.beat.BeatLazyFunc``.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        """The value, now."""
        return self._func(*self._args, **self._kwargs)

    def delay(self) -> Any:
        """The value, now."""
        return self()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._func!r}>"


def evaluated(value: Any) -> Any:
    """The value that is sent."""
    return value() if isinstance(value, BeatLazyFunc) else value
