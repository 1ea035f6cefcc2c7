"""Events of the tasks that a worker runs.

Source:
    Celery user guide, Monitoring, "Task Events": types, fields and when they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from umbel.events.sender import EventSender
from umbel.exceptions import TimeLimitExceeded, WorkerLostError
from umbel.model import Failed, Outcome, Rejected, Request, Retried, Revoked, Succeeded
from umbel.protocols import Clock, Pool
from umbel.wire.events import (
    Success,
    TaskEvent,
    TaskFailed,
    TaskNews,
    TaskRejected,
    TaskRetried,
    TaskRevoked,
    TaskStarted,
    TaskSucceeded,
    written,
)
from umbel.worker.fetching.admission import Accepted

__all__ = ["TaskEvents"]

_E = TypeVar("_E", bound=TaskEvent)

_LOOK = 0.1
"""Seconds between two looks at which tasks have been started and run longer than that."""


class TaskEvents:
    """Tells of each step of each task. To be asked only while ``sender.tells_tasks``.

    ``task-started`` of short tasks goes out together with their end: the time it says is right
    all the same. Long ones are told of while they run.
    """

    def __init__(
        self, sender: EventSender, *, pool: Pool, active: Mapping[int, Accepted], clock: Clock
    ) -> None:
        """Make one.

        Args:
            active: What the pool has, by key.
        """
        self.sender = sender
        self._pool = pool
        self._active = active
        self._clock = clock
        self._news = TaskNews(hostname=sender.hostname, pid=sender.pid, utcoffset=sender.utcoffset)
        # The keys of tasks whose start has been told.
        self._started: set[int] = set()
        # Short tasks that have ended, and are told of by the next _tell_of_ended.
        self._succeeded: list[Success] = []

    def received(self, run: Sequence[Accepted]) -> None:
        """These are here, and about to start."""
        told = [accepted.request for accepted in run if accepted.options.send_events]
        sender = self.sender
        clock = sender.logical_clock.forward()
        sender.send_tasks(self._news.received(told, clock=clock, now=self._clock.time()))

    async def look(self) -> None:
        """Tell of the start of tasks that run for a while, until cancelled."""
        while True:
            await self.sender.telling()
            await self._clock.sleep(_LOOK)
            if self.sender.tells_tasks and (self._active or self._started):
                self._tell_of_started()

    def _tell_of_started(self) -> None:
        now, monotonic = self._clock.time(), self._clock.monotonic()
        self._started &= self._active.keys()
        events: list[bytes] = []
        for running in self._pool.running():
            accepted = self._active.get(running.key)
            if accepted is None or running.key in self._started:
                continue
            self._started.add(running.key)
            if accepted.options.send_events:
                start = self._start(accepted.request, now - (monotonic - running.since))
                events.append(written(start))
        if events:
            self.sender.send_tasks(events)

    def ended(self, accepted: Accepted, outcome: Outcome) -> None:
        """It has come to its end, which is not to be tried again as if it had not been.

        To be followed, when all that ended together have been noted, by :meth:`all_ended`.
        """
        request = accepted.request
        told = False
        if request.key in self._started:
            told = True
            self._started.discard(request.key)
        if not accepted.options.send_events:
            return
        if isinstance(outcome, Succeeded) and not told:
            # What nearly all come to.
            self._succeeded.append((request.id, outcome.runtime, outcome.shown))
            return
        end = self._end(accepted, outcome)
        if end is None:
            return
        if told or not outcome.runtime:
            self.sender.send_tasks([written(end)])
        else:
            # Its number is the higher one, so that it comes last wherever they are sorted.
            start = self._start(request, end.timestamp - outcome.runtime)
            start.clock, end.clock = end.clock, start.clock
            self.sender.send_tasks([written(start), written(end)])

    def all_ended(self) -> None:
        """Tell of the short tasks that have ended since the last time."""
        ended, self._succeeded = self._succeeded, []
        if ended:
            sender = self.sender
            clock = sender.logical_clock.skip(2) + 1
            sender.send_tasks(self._news.succeeded(ended, clock=clock, now=self._clock.time()))

    def rejected(self, accepted: Accepted, outcome: Rejected) -> None:
        """It gives its message back."""
        if self.sender.tells_tasks:
            self.ended(accepted, outcome)

    def revoked(
        self, accepted: Accepted, *, signum: int | None = None, expired: bool = False
    ) -> None:
        """It was revoked or had expired; with ``signum`` it was ended while it ran."""
        if accepted.options.send_events:
            event = self._common(
                TaskRevoked,
                accepted.request,
                terminated=signum is not None,
                signum=signum,
                expired=expired,
            )
            self.sender.send_tasks([written(event)])

    def unknown(self, request: Request) -> None:
        """There is no such task."""
        error = f"NotRegistered({request.task!r})"
        self.sender.send_tasks([written(self._common(TaskFailed, request, exception=error))])

    def _end(self, accepted: Accepted, outcome: Outcome) -> TaskEvent | None:
        request = accepted.request
        match outcome:
            case Succeeded():
                return self._common(
                    TaskSucceeded, request, result=outcome.shown, runtime=outcome.runtime
                )
            case Failed():
                exception, traceback = outcome.shown or (_reason(accepted, outcome), None)
                return self._common(TaskFailed, request, exception=exception, traceback=traceback)
            case Retried():
                exception, traceback = outcome.shown or ("", None)
                return self._common(TaskRetried, request, exception=exception, traceback=traceback)
            case Rejected():
                return self._common(TaskRejected, request, requeue=outcome.requeue)
            case Revoked():
                return self._common(
                    TaskRevoked, request, terminated=True, signum=None, expired=False
                )
            case _:
                # Ignored: Celery tells nothing of it either.
                return None

    def _start(self, request: Request, timestamp: float) -> TaskStarted:
        event = self._common(TaskStarted, request)
        event.timestamp = timestamp
        return event

    def _common(self, kind: type[_E], request: Request, **fields: Any) -> _E:
        sender = self.sender
        return kind(
            uuid=request.id,
            hostname=sender.hostname,
            pid=sender.pid,
            utcoffset=sender.utcoffset,
            clock=sender.logical_clock.forward(),
            timestamp=self._clock.time(),
            **fields,
        )


def _reason(accepted: Accepted, outcome: Failed) -> str:
    """The exception of a task that could not say it itself."""
    if outcome.cause == "time-limit":
        limit = accepted.request.time_limit or accepted.options.time_limit
        return repr(TimeLimitExceeded(limit))
    if outcome.cause == "worker-lost":
        return repr(WorkerLostError(f"Worker exited prematurely: {outcome.reason}."))
    return outcome.reason
