"""Error callbacks that are run on the spot, in the process of the task that failed.

Source:
    Celery user guide, Calling Tasks, "Linking (callbacks/errbacks)": an error callback that takes
    more than one argument is called with the request, the exception and the traceback; any other
    is a task like every other, sent with the id of the one that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umbel.execution import failures
from umbel.execution.context import Run
from umbel.execution.failures import ExceptionInfo

__all__ = ["call_here"]


def call_here(run: Run, info: ExceptionInfo) -> list[Any]:
    """Call those that take it with ``(request, exc, traceback)``; returns the other ones."""
    others: list[Any] = []
    for errback in run.body.errbacks or ():
        task = run.tools.tasks.get(errback["task"])
        if task is None or not _takes_several(task.entry):
            others.append(errback)
            continue
        args = tuple(errback.get("args") or ())
        if not errback.get("immutable"):
            args = (run.context, info.exception, info.traceback, *args)
        try:
            # Tasks are callable: as a plain function, with a request of its own.
            task(*args, **(errback.get("kwargs") or {}))  # type: ignore[operator]
        except Exception as error:
            failures.report(run, failures.INTERNAL, ExceptionInfo(error, internal=True))
    return others


def _takes_several(function: Callable[..., Any]) -> bool:
    # Costs 15 ms to import; only tasks that fail and have error callbacks need it.
    from inspect import Parameter, signature

    parameters = list(signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
