"""``celery.concurrency``: pools by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from umbel import signals
from umbel.result.blocking import forbid_waiting
from umbel.utils.imports import symbol_by_name

__all__ = [
    "ALIASES",
    "apply_target",
    "get_available_pool_names",
    "get_implementation",
    "process_destructor",
    "process_initializer",
]

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


def process_initializer(app: Any, hostname: str | None) -> None:
    """Make this process, which is a pool's, one that runs tasks of an app: to be called in it,
    for example as the ``initializer`` of a ``multiprocessing.Pool``."""
    forbid_waiting()
    app.set_current()
    app.set_default()
    app.loader.import_default_modules()
    app.finalize()
    app.on_after_fork.send(sender=app)
    app.loader.init_worker_process()
    signals.worker_process_init.send(sender=hostname)


def process_destructor(pid: int, exitcode: int) -> None:
    """Tell receivers of ``worker_process_shutdown`` that this process ends."""
    signals.worker_process_shutdown.send(sender=None, pid=pid, exitcode=exitcode)


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
