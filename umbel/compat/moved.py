"""Names that others ask for, and that have no place of their own here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

import click

from umbel.app.current import Proxy, get_current_app
from umbel.app.task import Task
from umbel.execution import tracing
from umbel.execution.stacks import TaskStack
from umbel.utils.saferepr import saferepr

__all__ = [
    "CeleryCommandException",
    "ExceptionWithTraceback",
    "dump_body",
    "maybe_patch_concurrency",
    "reraise",
    "send_task",
    "task_has_custom",
    "task_stack",
    "tasks",
    "trace_task",
    "try_import",
]

task_stack = TaskStack()
"""``celery._state._task_stack``."""

tasks = Proxy(lambda: get_current_app().tasks)
"""``celery.registry.tasks``: those of the app that is current when they are used."""


def send_task(*args: Any, **kwargs: Any) -> Any:
    """``celery.execute.send_task``: :meth:`~umbel.app.base.Umbel.send_task` of the current app."""
    return get_current_app().send_task(*args, **kwargs)


def trace_task(
    task: Any,
    uuid: str,
    args: Any,
    kwargs: Any,
    request: Mapping[str, Any] | None = None,
    **opts: Any,
) -> Any:
    """``celery.app.trace.trace_task``: run a task, here and now, as what has been put in the place
    of ``build_tracer`` has it."""
    return tracing.build_tracer(task.name, task, **opts)(uuid, args, kwargs, request)


def dump_body(m: Any, body: Any) -> str:
    """``celery.worker.consumer.consumer.dump_body``: what is in a message, and how long that is.

    Args:
        body: What was read of it; None: it was not.
    """
    shown = saferepr(m.body if body is None else body, 1024)
    return f"{shown} ({len(m.body)}b)"


def task_has_custom(task: Any, attr: str) -> Any:
    """The class of the task's that has an attribute of its own, instead of ``Task``'s."""
    for kind in type(task).__mro__:
        if kind in {Task, object}:
            return None
        if attr in vars(kind):
            return kind
    return None


def maybe_patch_concurrency(
    argv: Sequence[str] | None = None,
    short_opts: Sequence[str] | None = None,
    long_opts: Sequence[str] | None = None,
    patches: Mapping[str, Callable[[], object]] | None = None,
) -> None:
    """``celery.maybe_patch_concurrency``: call the patch for the pool that a command line names.

    Without ``patches`` there is nothing to call: the pools of gevent and eventlet run tasks
    in a process that patches itself, and the worker beside it must stay as it is.

    Args:
        argv: Default: the process's.
        short_opts: Options that name a pool, default ``-P``.
        long_opts: As above, default ``--pool``.
        patches: What to call, by pool.
    """
    waiting = list(sys.argv if argv is None else argv)
    names = (*(short_opts or ("-P",)), *(long_opts or ("--pool",)))
    while waiting:
        option, equals, value = waiting.pop(0).partition("=")
        if option in names:
            pool = value if equals else (waiting or [""])[0]
            (patches or {}).get(pool, lambda: None)()
            return


class ExceptionWithTraceback(Exception):
    """``billiard.einfo.ExceptionWithTraceback``, which carries exceptions between processes there.

    Here none is ever made: others ask whether what they were given is one.
    """


class CeleryCommandException(click.ClickException):
    """What a command raises to end the command line with a message and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        # click declares it as the class's.
        vars(self)["exit_code"] = exit_code


def reraise(
    tp: type[BaseException],  # noqa: ARG001 - documented parameter
    value: BaseException,
    tb: TracebackType | None = None,
) -> NoReturn:
    """Raise ``value`` with another traceback, if one is given."""
    raise value.with_traceback(tb) if tb is not None else value


def try_import(module: str, default: Any = None) -> Any:
    """The module, else ``default``.

    >>> try_import("there_is_no_such_module", 0)
    0
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        return default
