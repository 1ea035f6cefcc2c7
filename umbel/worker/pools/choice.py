"""Which pool runs the tasks."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, assert_never

from umbel.exceptions import ImproperlyConfigured
from umbel.protocols import Pool
from umbel.utils.imports import symbol_by_name
from umbel.worker.options import WorkerOptions
from umbel.worker.pools.children import Origin, runner_of_app, runner_of_origin

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["can_block", "make_pool"]


def can_block(options: WorkerOptions) -> bool:
    """Whether tasks run in the worker's own process, where one can hold up everything."""
    return options.pool in {"threads", "asyncio", "solo", "guest"}


def make_pool(options: WorkerOptions, app: Umbel) -> Pool:
    """The pool that the options ask for, not prepared yet. Loads no other one."""
    make_runner = partial(app.make_runner, options.hostname)
    match options.pool:
        case "prefork":
            return _prefork(options, app)
        case "threads":
            # Each pool is loaded when asked for: the others cost a worker nothing.
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
        case "gevent" | "eventlet":
            return _green(options, app, options.pool)
        case "guest":
            return _guest(options, app)
        case _:
            assert_never(options.pool)


def _green(options: WorkerOptions, app: Umbel, kind: Literal["gevent", "eventlet"]) -> Pool:
    if find_spec(kind) is None:
        raise ImproperlyConfigured(
            f"the {kind} pool needs a package that is not installed: pip install umbel[{kind}]"
        )
    # As in make_pool; and it needs what some platforms lack.
    from umbel.pools.green import GreenPool

    make_runner = partial(runner_of_origin, Origin(app), options.hostname)
    return GreenPool(make_runner, options.concurrency, kind=kind, name=options.hostname)


def _guest(options: WorkerOptions, app: Umbel) -> Pool:
    # As in make_pool.
    from umbel.pools.guest import GuestPool

    try:
        kind = symbol_by_name(options.guest)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"worker_pool names {options.guest!r}, which cannot be imported: {error}"
        ) from error
    if not callable(getattr(kind, "apply_async", None)):
        raise ImproperlyConfigured(
            f"worker_pool names {kind!r}, which is no pool: one of your own is made of "
            "umbel.worker.pools.base.BasePool (under the alias celery.concurrency.base.BasePool)."
        )
    make_guest = partial(
        kind,
        options.concurrency,
        app=app,
        initargs=(app, options.hostname),
        maxtasksperchild=options.max_tasks_per_child,
        max_memory_per_child=options.max_memory_per_child,
        timeout=options.time_limit,
        soft_timeout=options.soft_time_limit,
        putlocks=app.conf.worker_pool_putlocks,
        allow_restart=app.conf.worker_pool_restarts,
        threads=True,
    )
    try:
        elsewhere = partial(runner_of_origin, Origin(app), options.hostname)
    except LookupError:
        # It has to do with processes that are copies of this one.
        elsewhere = partial(runner_of_app, app, options.hostname)
    return GuestPool(partial(app.make_runner, options.hostname), elsewhere, make_guest)


def _prefork(options: WorkerOptions, app: Umbel) -> Pool:
    # As in make_pool; and it needs what some platforms lack.
    from umbel.pools.prefork import PreforkPool

    given: dict[str, Any] = {}
    if options.start_method in {None, "fork"}:
        make_runner = partial(runner_of_app, app, options.hostname)
    else:
        given["start_method"] = options.start_method
        make_runner = partial(runner_of_origin, Origin(app), options.hostname)
    return PreforkPool(
        make_runner,
        options.concurrency,
        prefetch=options.prefetch_multiplier,
        max_tasks_per_child=options.max_tasks_per_child,
        max_memory_per_child=options.max_memory_per_child,
        alive_timeout=options.proc_alive_timeout,
        name=options.hostname,
        **given,
    )
