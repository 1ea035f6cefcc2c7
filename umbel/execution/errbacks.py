"""Error callbacks that take more than an id: called on the spot where the task has failed.

Source:
    Celery user guide, Calling Tasks, "Linking (callbacks/errbacks)": an error callback that takes
    more than one argument is called with the request, the exception and the traceback; any other
    is a task like every other, sent with the id of the one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.canvas.composing import Failure
from umbel.execution import failures
from umbel.execution.context import Context, Run
from umbel.execution.failures import ExceptionInfo
from umbel.execution.runnable import Runnable
from umbel.serialization import json
from umbel.wire import errors

__all__ = ["LATER", "call_here", "call_later", "sendable"]

LATER = "umbel.call_errback"
"""The task that calls an error callback for a task that could not do it itself."""


def call_here(run: Run, info: ExceptionInfo) -> list[Any]:
    """Call those that take it with ``(request, exc, traceback)``; returns the other ones."""
    others: list[Any] = []
    for errback in run.body.errbacks or ():
        task = run.tools.tasks.get(errback["task"])
        if task is None or not _takes_several(task, errback):
            others.append(errback)
            continue
        try:
            _call(task, errback, run.context, info.exception, info.traceback)
        except Exception as error:
            failures.report(run, failures.INTERNAL, ExceptionInfo(error, internal=True))
    return others


def sendable(errbacks: Sequence[Any], failure: Failure, tasks: Mapping[str, Runnable]) -> list[Any]:
    """Error callbacks for a task that has failed without running, as they can be sent: those that
    take more than an id are to be called by :data:`LATER`, where user code may run."""
    return [
        _later(errback, failure)
        if (task := tasks.get(errback["task"])) is not None and _takes_several(task, errback)
        else errback
        for errback in errbacks
    ]


def call_later(
    tasks: Mapping[str, Runnable],
    errback: Mapping[str, Any],
    request: Mapping[str, Any],
    error: object,
    traceback: str | None,
) -> None:
    """What :data:`LATER` does; the arguments are :func:`sendable`'s."""
    exception = errors.decode(error)
    _call(tasks[errback["task"]], errback, Context(request), exception, traceback)


def _later(errback: Mapping[str, Any], failure: Failure) -> dict[str, Any]:
    request = {"id": failure.id, "task": failure.task, "root_id": failure.root_id}
    error = errors.encode(failure.error, dumps=json.dumps)
    # Where the error callback itself would be sent.
    options: dict[str, Any] = {"route_name": errback["task"], **(errback.get("options") or {})}
    plain: dict[str, Any] = {**errback, "options": {}}
    return {
        "task": LATER,
        "args": (plain, request, error, failure.traceback),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": True,
    }


def _call(
    task: Any,
    errback: Mapping[str, Any],
    request: Context,
    error: object,
    traceback: str | None,
) -> None:
    args = tuple(errback.get("args") or ())
    if not errback.get("immutable"):
        args = (request, error, traceback, *args)
    # Tasks are callable: as a plain function, with a request of its own.
    task(*args, **(errback.get("kwargs") or {}))


def _takes_several(task: Runnable, errback: Mapping[str, Any]) -> bool:
    """Whether the failure has more than one argument to give; those that the signature holds
    are not among them."""
    # Costs 15 ms to import; only tasks that fail and have error callbacks need it.
    from inspect import Parameter, signature

    function: Callable[..., Any] = task.entry
    parameters = list(signature(function).parameters.values())
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if errback.get("immutable"):
        return len(positional) > 1
    held: Any = errback.get("kwargs") or {}
    left = [p for p in positional if p.name not in held]
    return len(left) - len(errback.get("args") or ()) > 1
