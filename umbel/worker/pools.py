"""Which pool runs the tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

from umbel.protocols import Pool, Runner
from umbel.result.blocking import forbid_waiting
from umbel.worker.options import WorkerOptions

__all__ = ["make_pool"]


def make_pool(options: WorkerOptions, make_runner: Callable[[], Runner]) -> Pool:
    """The pool that the options ask for, not prepared yet. Loads no other one."""
    match options.pool:
        case "prefork":
            # Each pool is loaded when asked for: prefork needs what some platforms lack.
            from umbel.pools.prefork import PreforkPool

            given: dict[str, Any] = {}
            if options.start_method is not None:
                given["start_method"] = options.start_method
            return PreforkPool(
                partial(_make_runner_of_child, make_runner),
                options.concurrency,
                prefetch=options.prefetch_multiplier,
                max_tasks_per_child=options.max_tasks_per_child,
                name=options.hostname,
                **given,
            )
        case "threads":
            # As above: one pool is loaded, the others cost a worker nothing.
            from umbel.pools.threads import ThreadPool

            return ThreadPool(make_runner, options.concurrency)
        case "asyncio":
            # As above.
            from umbel.pools.loops import AsyncioPool

            return AsyncioPool(make_runner, options.concurrency)
        case "solo":
            # As above.
            from umbel.pools.inline import InlinePool

            return InlinePool(make_runner)
        case _:
            assert_never(options.pool)


def _make_runner_of_child(make_runner: Callable[[], Runner]) -> Runner:
    """Make the runner of a process that does nothing but run tasks, in whatever thread."""
    forbid_waiting()
    return make_runner()
