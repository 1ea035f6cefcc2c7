"""What others put around the run of a task: ``build_tracer``, replaced by tools that watch tasks.

Celery documents no way to wrap the run of every task. Those that have to (error trackers, tracers)
put a function of their own in the place of ``celery.app.trace.build_tracer``, which calls the one
that was there and wraps what that gives. It is looked up here when a process prepares to run a
task for the first time; where nobody has replaced it, running a task costs nothing more.

Source:
    Celery reference, ``celery.app.trace``: ``build_tracer`` and the arguments of what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from types import CoroutineType
from typing import Any, NamedTuple

import msgspec

from umbel.execution import context
from umbel.execution.context import Run
from umbel.execution.coroutines import Loops
from umbel.execution.failures import logger
from umbel.execution.prepared import Prepared
from umbel.execution.runnable import Runnable
from umbel.model import Outcome, Succeeded

__all__ = ["Traced", "Tracer", "build_tracer", "prepare", "surround"]

Tracer = Callable[..., Any]
"""Runs a task: called with its id, arguments, keyword arguments and request (a mapping)."""


class Traced(NamedTuple):
    """What a tracer returns."""

    retval: Any
    """What the task returned, or raised."""
    info: Any
    """How it failed, if it did."""
    runtime: float
    """Seconds."""
    retstr: str


class _Pending(msgspec.Struct, eq=False):
    """A run that its tracer is to carry out."""

    run: Run
    settle: Callable[[], Outcome]
    outcome: Outcome | None = None


_pending: ContextVar[_Pending | None] = ContextVar("umbel_traced", default=None)


def build_tracer(
    name: str,  # noqa: ARG001 - documented parameter
    task: Any,
    *_args: Any,
    **_options: Any,
) -> Tracer:
    """What runs calls of ``task``; to be wrapped by whoever watches tasks.

    Called for a run of a worker, the tracer carries that out, whatever it is given; called by
    anyone else, it runs the task here and now.
    """

    def trace(
        uuid: str, args: Sequence[Any], kwargs: Mapping[str, Any], request: Any = None
    ) -> Traced:
        pending = _pending.get()
        if pending is None or pending.run.task is not task:
            return _apply(task, uuid, args, kwargs, request)
        _pending.set(None)
        outcome = pending.outcome = pending.settle()
        run = pending.run
        info = None if isinstance(outcome, Succeeded) else run.failure
        value = run.value if info is None else info.exception
        return Traced(value, info, getattr(outcome, "runtime", 0.0), "")

    return trace


_own = build_tracer


def _apply(
    task: Any, uuid: str, args: Sequence[Any], kwargs: Mapping[str, Any], request: Any
) -> Traced:
    headers = None if request is None else request.get("headers")
    ended = task.apply(args, kwargs, task_id=uuid, throw=False, headers=headers)
    return Traced(ended.result, None if ended.successful() else ended, 0.0, "")


def prepare(task: Runnable, loops: Loops, hostname: str) -> Prepared:
    """The task, with what others have put around it."""
    if build_tracer is _own:
        return Prepared.of(task)
    if task.is_coroutine:
        # Whoever wraps ``run`` is to see what it raises, not the coroutine that will.
        _drive(task, loops)
    tracer = build_tracer(task.name, task, hostname=hostname, app=getattr(task, "app", None))
    return msgspec.structs.replace(Prepared.of(task), tracer=tracer, is_coroutine=False)


def surround(run: Run, tracer: Tracer, settle: Callable[[], Outcome]) -> Outcome:
    """Have ``tracer`` carry out the run.

    Raises:
        RuntimeError: It has not.
        Exception: Somebody's wrapper has raised it, before the task ran.
    """
    pending = _Pending(run, settle)
    token = _pending.set(pending)
    try:
        tracer(run.request.id, run.body.args, run.body.kwargs, dict(vars(run.context)))
    except BaseException:
        if pending.outcome is None:
            raise
        # The task has ended as it has, whatever somebody makes of it.
        logger.exception("What surrounds task %s has failed", run.request.task)
    finally:
        _pending.reset(token)
    if pending.outcome is None:
        raise RuntimeError(f"what has replaced build_tracer has not run task {run.request.task}")
    return pending.outcome


def _drive(task: Any, loops: Loops) -> None:
    """Have the function of an ``async def`` task run to its end where a worker calls it;
    elsewhere it gives a coroutine, as before."""
    function = task.run

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        running = context.current()
        if running is None or running.task is not task or value.__class__ is not CoroutineType:
            return value
        return loops.drive(value, running.interrupts)

    task.run = run
