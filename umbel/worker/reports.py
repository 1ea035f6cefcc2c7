"""What the log says of messages, in the documented words, and the signals that say the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from umbel import signals
from umbel.exceptions import Retry
from umbel.model import Delivery, Failed, Request, Revocation
from umbel.worker.fetching.admission import Accepted
from umbel.worker.request import Request as RequestView

__all__ = [
    "announce",
    "expired",
    "given_back",
    "in_vain",
    "lost_before_start",
    "malformed",
    "not_retried",
    "received",
    "retried",
    "revoked",
    "stopped",
    "terminated",
    "unknown",
]

logger = logging.getLogger(__name__)

_EXCERPT = 200
"""Bytes of an unreadable message that the log shows."""


def received(run: Sequence[Accepted]) -> None:
    """One line per task that is about to start, unless nobody reads it.

    Source:
        Celery reference, ``celery.app.trace.LOG_RECEIVED``, and what comes with it as ``data``.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    for accepted in run:
        view = RequestView(accepted)
        data = {
            "id": view.id,
            "name": view.name,
            "args": view.argsrepr,
            "kwargs": view.kwargsrepr,
            "eta": view.eta,
        }
        logger.info("Task %(name)s[%(id)s] received", data, extra={"data": data})


def announce(run: Sequence[Accepted], sender: object) -> None:
    """Send ``task_received`` for tasks that are about to start.

    Source:
        Celery user guide, Signals, ``task_received``.
    """
    for accepted in run:
        signals.task_received.send(sender=sender, request=RequestView(accepted))


def malformed(delivery: Delivery, reason: str) -> None:
    """One line per message that nobody can read; as long as it takes to find its sender."""
    body = delivery.message.body
    logger.warning(
        "Received and deleted unknown message.  Wrong destination?!? %s Queue %r, %d bytes: %r%s",
        reason,
        delivery.queue,
        len(body),
        body[:_EXCERPT],
        "…" if len(body) > _EXCERPT else "",
    )


def unknown(request: Request) -> None:
    """One line per message for a task that is not here."""
    values = {"name": request.task, "id": request.id}
    logger.error(
        "Received unregistered task of type %(name)r (id %(id)s): kept with the dead letters "
        "(umbel dead). Is the module that defines it imported by this worker (imports, include, "
        "autodiscover_tasks)?",
        values,
        extra={"data": values},
    )


def expired(accepted: Accepted, task: object) -> None:
    """One line per message whose time was over; the signal too."""
    request = accepted.request
    values = {"name": request.task, "id": request.id}
    logger.info("Discarding expired task: %(name)s[%(id)s]", values, extra={"data": values})
    _tell_revoked(accepted, task, expired=True)


def revoked(accepted: Accepted, task: object, by: Revocation | None) -> None:
    """One line per message that was revoked before it was started; the signal too.

    Source:
        ``celery.worker.request.Request.revoked``.
    """
    request = accepted.request
    stamp = f" (revoked by header: { ({by.header: by.value}) })" if by and by.header else ""
    logger.info("Discarding revoked task: %s[%s]%s", request.task, request.id, stamp)
    _tell_revoked(accepted, task)


def terminated(accepted: Accepted, task: object, signum: int) -> None:
    """The signal for a task that was ended while it ran."""
    _tell_revoked(accepted, task, signum=signum)


def _tell_revoked(
    accepted: Accepted, task: object, *, signum: int | None = None, expired: bool = False
) -> None:
    """Source: Celery user guide, Signals, ``task_revoked``."""
    if signals.task_revoked.receivers:
        signals.task_revoked.send(
            sender=task,
            request=RequestView(accepted),
            terminated=signum is not None,
            signum=signum,
            expired=expired,
        )


def repeated(repeats: Sequence[Accepted]) -> None:
    """One line for messages that are not run because others of the same tasks are."""
    logger.info(
        "Left out %d tasks that had been published twice, because a worker died just then: %s",
        len(repeats),
        ", ".join(each.request.id for each in repeats[:10]),
    )


def already_successful(repeats: Sequence[Accepted]) -> None:
    """One line each for messages that are not run because their tasks have succeeded.

    Source:
        Celery 5.7, its log.
    """
    for each in repeats:
        logger.info(
            "Task %s[%s] Task already completed successfully.", each.request.task, each.request.id
        )


def lost_before_start(lost: Sequence[Delivery]) -> None:
    """One line for messages that went to other workers before they could be started here."""
    logger.warning(
        "Lost %d messages to other workers before they were started: their leases had run out.",
        len(lost),
    )


def in_vain(accepted: Accepted) -> None:
    """One line for a task that is ended because its message is lost to this worker."""
    logger.warning(
        "Task %s[%s] cannot be acknowledged any more, because its message was lost with the "
        "connection: terminating it. It runs again where the message is now.",
        accepted.request.task,
        accepted.request.id,
    )


def given_back(request: Request) -> None:
    """One line for a task that a shutdown ended, and that runs again."""
    logger.warning(
        "Task %s[%s] was ended by the shutdown, and goes back to its queue.",
        request.task,
        request.id,
    )


def retried(request: Request, reason: Retry) -> None:
    """One line for a task whose process is gone, and that is tried again.

    Source:
        ``celery.worker.request``: the line is that of every retry.
    """
    values = {"name": request.task, "id": request.id, "exc": str(reason)}
    logger.info("Task %(name)s[%(id)s] retry: %(exc)s", values, extra={"data": values})


def not_retried(request: Request, error: Exception) -> None:
    """One line for a task whose process is gone, and that cannot be tried again."""
    logger.error(
        "Failed to retry task %s[%s] after worker was lost: %r", request.task, request.id, error
    )


def stopped(request: Request, outcome: Failed) -> None:
    """One line for a task whose process is gone, or was ended by its hard time limit."""
    if outcome.cause == "time-limit":
        logger.error(
            "Hard time limit (%ss) exceeded for %s[%s]", outcome.reason, request.task, request.id
        )
    else:
        values = {
            "name": request.task,
            "id": request.id,
            "description": "raised unexpected",
            "exc": f"WorkerLostError('Worker exited prematurely: {outcome.reason}.')",
        }
        logger.error(
            "Task %(name)s[%(id)s] %(description)s: %(exc)s", values, extra={"data": values}
        )
