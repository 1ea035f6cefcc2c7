"""A task, looked at once: what running it needs to know, ready to be read per request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from umbel.execution.runnable import Runnable, TaskOptions

__all__ = ["Prepared"]


class Prepared(msgspec.Struct, frozen=True, eq=False):
    """A task's properties, which cost a look into classes and settings, as plain fields."""

    task: Runnable
    options: TaskOptions
    entry: Callable[..., Any]
    is_coroutine: bool
    listens: frozenset[str]
    is_watched: bool
    """Whether there is anything to do before it runs, signals apart."""
    tracer: Callable[..., Any] | None = None
    """What carries out its runs; None: nobody has put anything around them."""

    @classmethod
    def of(cls, task: Runnable) -> Prepared:
        """Look at ``task`` as it is now."""
        options, listens = task.options, task.listens
        return cls(
            task=task,
            options=options,
            entry=task.entry,
            is_coroutine=task.is_coroutine,
            listens=listens,
            is_watched=options.track_started or "before_start" in listens,
        )
