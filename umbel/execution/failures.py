"""From exceptions to records, tracebacks and log lines.

The first half serves the process that runs tasks; the second, :func:`lost` and the following,
also the worker's parent: it says what became of a task that can no longer speak for itself, and
needs only the codec.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

import msgspec

from umbel.exceptions import (
    NotRegistered,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from umbel.execution.context import Run
from umbel.model import Message, Request, ResultRecord
from umbel.states import REVOKED
from umbel.utils.saferepr import saferepr
from umbel.wire.results import ResultCodec

__all__ = [
    "EXPECTED",
    "IGNORED",
    "INTERNAL",
    "REJECTED",
    "UNEXPECTED",
    "ExceptionInfo",
    "LogPolicy",
    "describe",
    "expired",
    "failed_unseen",
    "lost",
    "report",
    "revoked",
    "revoked_unseen",
    "terminated",
    "timed_out",
    "unregistered",
    "worker_lost",
]

logger = logging.getLogger("umbel.app.trace")
"""Named after the module that people silence and format: ``celery.app.trace``."""


class ExceptionInfo:
    """An exception and its traceback as text; what handlers get as ``einfo``."""

    __slots__ = ("exception", "internal", "tb", "traceback", "type")

    def __init__(self, exception: BaseException, *, internal: bool = False) -> None:
        self.exception = exception
        self.type = type(exception)
        self.tb = _below_ours(exception.__traceback__)
        self.traceback = "".join(traceback.format_exception(self.type, exception, self.tb))
        self.internal = internal

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {describe(self.exception)}>"


class LogPolicy(msgspec.Struct, frozen=True):
    """How the log tells what became of a task."""

    format: str
    description: str
    severity: int
    shows_traceback: bool


UNEXPECTED = LogPolicy(
    "Task %(name)s[%(id)s] %(description)s: %(exc)s", "raised unexpected", logging.ERROR, True
)
EXPECTED = LogPolicy(
    "Task %(name)s[%(id)s] %(description)s: %(exc)s", "raised expected", logging.INFO, False
)
INTERNAL = LogPolicy(
    "Task %(name)s[%(id)s] %(description)s: %(exc)s", "INTERNAL ERROR", logging.CRITICAL, True
)
IGNORED = LogPolicy("Task %(name)s[%(id)s] %(description)s", "ignored", logging.INFO, False)
REJECTED = LogPolicy("Task %(name)s[%(id)s] %(exc)s", "rejected", logging.WARNING, True)


def _below_ours(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without the frame that called the task, unless there is no other."""
    return tb.tb_next or tb if tb is not None else None


def describe(error: BaseException) -> str:
    """``repr(error)``, even for exceptions that have none to show."""
    try:
        return repr(error)
    except Exception as trouble:
        return f"<{type(error).__name__} whose repr raises {type(trouble).__name__}>"


def report(run: Run, policy: LogPolicy, info: ExceptionInfo) -> None:
    """Write the one log line about an exception, unless nobody reads it."""
    if not logger.isEnabledFor(policy.severity):
        return
    data = {
        "hostname": run.tools.hostname,
        "id": run.request.id,
        "name": run.request.task,
        "exc": describe(info.exception),
        "traceback": info.traceback,
        "args": saferepr(run.args),
        "kwargs": saferepr(run.kwargs),
        "description": policy.description,
        "internal": info.internal,
    }
    exc_info = (info.type, info.exception, info.tb) if policy.shows_traceback else None
    logger.log(policy.severity, policy.format, data, exc_info=exc_info, extra={"data": data})


def lost(request: Request, reason: str, codec: ResultCodec) -> ResultRecord:
    """The FAILURE of a task whose process is gone.

    Args:
        reason: What was seen: ``signal 9 (SIGKILL)``, ``exitcode 1``.
    """
    return _failure(codec, request, worker_lost(reason))


def worker_lost(reason: str) -> WorkerLostError:
    """What is said of a task whose process is gone; ``reason`` as for :func:`lost`."""
    return WorkerLostError(f"Worker exited prematurely: {reason}.")


def timed_out(request: Request, limit: float | None, codec: ResultCodec) -> ResultRecord:
    """The FAILURE of a task that overran its hard time limit, in seconds."""
    return _failure(codec, request, TimeLimitExceeded(limit))


def unregistered(request: Request, codec: ResultCodec) -> ResultRecord:
    """The FAILURE of a task that nobody here knows."""
    return _failure(codec, request, NotRegistered(request.task))


def expired(request: Request, codec: ResultCodec) -> ResultRecord:
    """The REVOKED of a task that was not started in time."""
    return revoked(request, "expired", codec)


def terminated(request: Request, codec: ResultCodec) -> ResultRecord:
    """The REVOKED of a task that was stopped while it ran."""
    return revoked(request, "terminated", codec)


def revoked(request: Request, reason: str, codec: ResultCodec) -> ResultRecord:
    """The REVOKED of a task, for a reason: ``revoked``, ``expired`` or ``terminated``."""
    return codec.state(request, REVOKED, TaskRevokedError(reason))


def revoked_unseen(id: str, codec: ResultCodec) -> ResultRecord:
    """The REVOKED of a task of which only the id is known."""
    return codec.state(_named(id), REVOKED, TaskRevokedError("revoked"))


def failed_unseen(id: str, error: Exception, codec: ResultCodec) -> ResultRecord:
    """The FAILURE of a task of which only the id is known."""
    return codec.failed(_named(id), error, None)


def _named(id: str) -> _Named:
    return _Named(id, None, None, Message(id=id, body=b""))


class _Named(msgspec.Struct, frozen=True):
    """What a record needs to know of a task of which there is no request."""

    id: str
    group_id: str | None
    parent_id: str | None
    message: Message


def _failure(codec: ResultCodec, request: Request, error: Exception) -> ResultRecord:
    # Celery stores what it makes up itself without a traceback: there is none to show.
    return codec.failed(request, error, None)
