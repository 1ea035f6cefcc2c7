"""``celery.concurrency``: pools by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from umbel.utils.imports import symbol_by_name

__all__ = ["ALIASES", "apply_target", "get_available_pool_names", "get_implementation"]

ALIASES = {
    "prefork": "umbel.pools.prefork:PreforkPool",
    "processes": "umbel.pools.prefork:PreforkPool",
    "threads": "umbel.pools.threads:ThreadPool",
    "solo": "umbel.pools.inline:InlinePool",
    "asyncio": "umbel.pools.loops:AsyncioPool",
    "gevent": "umbel.pools.green:GreenPool",
    "eventlet": "umbel.pools.green:GreenPool",
}
"""Where the pools are, by what ``-P`` calls them."""


def get_implementation(cls: Any) -> Any:
    """The class of a pool, by its name; classes are what they are."""
    return symbol_by_name(ALIASES.get(cls, cls)) if isinstance(cls, str) else cls


def get_available_pool_names() -> tuple[str, ...]:
    """What ``-P`` takes."""
    return tuple(ALIASES)


def apply_target(
    target: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callback: Callable[[Any], object] | None = None,
    accept_callback: Callable[[int, float], object] | None = None,
    pid: int | None = None,
    **_: Any,
) -> None:
    """Call ``target`` here and now, as pools do: what it returns goes to ``callback``."""
    if accept_callback is not None:
        accept_callback(pid or os.getpid(), monotonic())
    value = target(*args, **(kwargs or {}))
    if callback is not None:
        callback(value)
