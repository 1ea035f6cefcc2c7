"""Calls of tasks whose class, or a package that is about all of them, overrides ``apply_async``.

Whatever sends tasks in batches, or without blocking, has them made by that method, and sends what
it would have sent.

Source:
    Celery's signatures call ``apply_async`` of their task, one by one, wherever they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.wire.call import Call

__all__ = ["Gathered", "gather", "is_overridden"]


class Gathered:
    """Stands in for the option ``producer``: what is sent with it is kept for a batch.

    An override that does not pass the option on sends by itself, at once.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []


def is_overridden(apply_async: Callable[..., Any], own: object) -> bool:
    """Whether a bound method is another one than the class's ``own``."""
    return getattr(apply_async, "__func__", None) is not own


def gather(
    apply_async: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Any, list[Call]]:
    """What an override returns, and the calls that it makes of one: none, if it thinks better
    of it."""
    producer = Gathered()
    result = apply_async(args, kwargs, **{**options, "producer": producer})
    return result, producer.calls
