"""What is told about a run, to whom and in which order: signals, the task's handlers, the log.

Nothing here changes the outcome: a receiver or handler that raises is reported as an internal
error, and the task has ended as it had. Whoever listens to nothing costs one comparison each.

Source:
    Celery user guide, Tasks, "Handlers"; Signals, "Task Signals". One difference: handlers run
    before the result is stored, since what comes of a run is published, stored and acknowledged
    together.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from umbel.exceptions import Ignore, Reject, Retry
from umbel.execution import failures
from umbel.execution.context import Run
from umbel.execution.failures import ExceptionInfo, logger
from umbel.execution.prepared import Prepared
from umbel.signals import (
    task_failure,
    task_internal_error,
    task_postrun,
    task_prerun,
    task_retry,
    task_success,
)
from umbel.states import FAILURE, IGNORED, REJECTED, RETRY, REVOKED, STARTED, SUCCESS
from umbel.utils.saferepr import saferepr

__all__ = ["before", "cancelled", "failed", "ignored", "rejected", "retried", "succeeded"]


def before(run: Run, task: Prepared) -> None:
    """The task is about to run; raises what its ``before_start`` raises."""
    tools, request, real = run.tools, run.request, run.task
    if task_prerun.receivers:
        task_prerun.send(
            sender=real, task_id=request.id, task=real, args=run.args, kwargs=run.kwargs
        )
    if tools.task_init is not None:
        tools.task_init(request.id, real)
    if task.options.track_started and not run.is_eager and not run.ignores_result:
        meta = {"pid": os.getpid(), "hostname": tools.hostname}
        tools.store([tools.codec.state(request, STARTED, meta)])
    if "before_start" in task.listens:
        real.before_start(request.id, run.args, run.kwargs)


def succeeded(run: Run, task: Prepared, value: object, runtime: float) -> None:
    """The task returned ``value`` after ``runtime`` seconds."""
    request, real = run.request, run.task
    if "on_success" in task.listens:
        _tell(run, real.on_success, value, request.id, run.args, run.kwargs)
    if task_success.receivers:
        task_success.send(sender=real, result=value, runtime=runtime)
    if logger.isEnabledFor(logging.INFO):
        _log_success(run, task, value, runtime)
    if "after_return" in task.listens:
        _tell(run, real.after_return, SUCCESS, value, request.id, run.args, run.kwargs, None)
    if task_postrun.receivers or run.tools.process_cleanup is not None:
        _finish(run, SUCCESS, value)


def failed(run: Run, task: Prepared, info: ExceptionInfo) -> None:
    """The task raised, and is given up."""
    request, real, error = run.request, run.task, info.exception
    if "on_failure" in task.listens:
        _tell(run, real.on_failure, error, request.id, run.args, run.kwargs, info)
    if task_failure.receivers:
        task_failure.send(
            sender=real,
            task_id=request.id,
            exception=error,
            args=run.args,
            kwargs=run.kwargs,
            traceback=info.tb,
            einfo=info,
        )
    expected = isinstance(error, task.options.throws)
    failures.report(run, failures.EXPECTED if expected else failures.UNEXPECTED, info)
    if "after_return" in task.listens:
        _tell(run, real.after_return, FAILURE, error, request.id, run.args, run.kwargs, info)
    _finish(run, FAILURE, error)


def retried(run: Run, task: Prepared, wanted: Retry, info: ExceptionInfo) -> None:
    """The task is to be tried again."""
    request, real = run.request, run.task
    if "on_retry" in task.listens:
        _tell(run, real.on_retry, wanted.exc, request.id, run.args, run.kwargs, info)
    if task_retry.receivers:
        task_retry.send(sender=real, request=run.context, reason=wanted, einfo=info)
    if logger.isEnabledFor(logging.INFO):
        data = {"id": request.id, "name": request.task, "exc": str(wanted)}
        logger.info("Task %(name)s[%(id)s] retry: %(exc)s", data, extra={"data": data})
    _finish(run, RETRY, wanted)


def ignored(run: Run, error: Ignore, info: ExceptionInfo) -> None:
    """The task wants nothing recorded."""
    failures.report(run, failures.IGNORED, info)
    _finish(run, IGNORED, error)


def rejected(run: Run, error: Reject, info: ExceptionInfo) -> None:
    """The task wants its message dropped or given back."""
    failures.report(run, failures.REJECTED, info)
    _finish(run, REJECTED, error)


def cancelled(run: Run, error: BaseException) -> None:
    """The pool has ended the task."""
    _finish(run, REVOKED, error)


def _finish(run: Run, state: str, value: object) -> None:
    if task_postrun.receivers:
        task_postrun.send(
            sender=run.task,
            task_id=run.request.id,
            task=run.task,
            args=run.args,
            kwargs=run.kwargs,
            retval=value,
            state=state,
        )
    if run.tools.process_cleanup is not None and not run.is_eager:
        _tell(run, run.tools.process_cleanup)


def _log_success(run: Run, task: Prepared, value: object, runtime: float) -> None:
    data = {
        "id": run.request.id,
        "name": run.request.task,
        "return_value": saferepr(value, task.options.resultrepr_maxsize),
        "runtime": runtime,
        "args": saferepr(run.args),
        "kwargs": saferepr(run.kwargs),
    }
    logger.info(
        "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s",
        data,
        extra={"data": data},
    )


def _tell(run: Run, handler: Callable[..., object], *args: Any) -> None:
    try:
        handler(*args)
    except Exception as error:
        info = ExceptionInfo(error, internal=True)
        failures.report(run, failures.INTERNAL, info)
        task_internal_error.send(
            sender=run.task,
            task_id=run.request.id,
            args=run.args,
            kwargs=run.kwargs,
            request=dict(vars(run.context)),
            exception=error,
            traceback=info.tb,
            einfo=info,
        )
