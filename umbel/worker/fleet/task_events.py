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
    TaskEvent,
    TaskFailed,
    TaskRejected,
    TaskRetried,
    TaskRevoked,
    TaskStarted,
)
from umbel.wire.news import Ending, TaskNews, ending
from umbel.worker.fetching.admission import Accepted
from umbel.worker.settling.batches import in_batches

__all__ = ["TaskEvents"]

_E = TypeVar("_E", bound=TaskEvent)

_TOGETHER = 100
"""Tasks whose events are written in one piece."""
_LOOK = 0.1
"""Seconds between two looks at which tasks have been started and run longer than that."""


class TaskEvents:
    """Tells of each step of each task. To be asked only while ``sender.tell`` is true.

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
        self._news = TaskNews(
            hostname=sender.hostname,
            pid=sender.pid,
            utcoffset=sender.utcoffset,
            style=sender.style,
        )
        # The keys of tasks whose start has been told.
        self._started: set[int] = set()

    def received(self, run: Sequence[Accepted]) -> None:
        """These are here, and about to start."""
        told = [accepted.request for accepted in run if accepted.options.send_events]
        sender = self.sender
        clock, now = sender.logical_clock.forward(), self._clock.time()
        for some in in_batches(told, _TOGETHER):
            sender.send_tasks(self._news.received(some, clock=clock, now=now))

    async def look(self) -> None:
        """Tell of the start of tasks that run for a while, until cancelled."""
        while True:
            await self.sender.telling()
            await self._clock.sleep(_LOOK)
            if self.sender.tell and (self._active or self._started):
                self._tell_of_started()

    def _tell_of_started(self) -> None:
        now, monotonic = self._clock.time(), self._clock.monotonic()
        self._started &= self._active.keys()
        for running in self._pool.running():
            accepted = self._active.get(running.key)
            if accepted is None or running.key in self._started:
                continue
            self._started.add(running.key)
            if accepted.options.send_events:
                since = now - (monotonic - running.since)
                self.sender.send_task(self._start(accepted.request, since))

    def succeeded(self, ended: Sequence[tuple[Accepted, Outcome]]) -> None:
        """Those of them that have succeeded, which nearly all have, will not be tried again."""
        told, sender = self._started, self.sender
        short: list[Ending] = []
        long: list[Ending] = []
        for accepted, outcome in ended:
            if type(outcome) is Succeeded and accepted.options.send_events:
                end = outcome.told or self._untold(accepted.request, outcome)
                (long if told and outcome.key in told else short).append(end)
        clock = sender.logical_clock.skip(2) + 1
        for some in in_batches(short, _TOGETHER):
            sender.send_tasks(self._news.succeeded(some, clock=clock))
        if long:
            told.difference_update([accepted.request.key for accepted, _ in ended])
            sender.send_tasks(self._news.ended(long, clock=clock + 1))

    def _untold(self, request: Request, outcome: Succeeded) -> Ending:
        """That of a task which had begun before anybody asked."""
        now, runtime = self._clock.time(), outcome.runtime
        return ending(self.sender.style, request.id, result=None, runtime=runtime, now=now)

    def ended(self, accepted: Accepted, outcome: Outcome) -> None:
        """It has come to its end without success, and is not to be tried again as if it had not
        been."""
        request = accepted.request
        told = request.key in self._started
        self._started.discard(request.key)
        end = self._end(accepted, outcome) if accepted.options.send_events else None
        if end is None:
            return
        if told or not outcome.runtime:
            self.sender.send_task(end)
        else:
            # Its number is the higher one, so that it comes last wherever they are sorted.
            start = self._start(request, end.timestamp - outcome.runtime)
            start.clock, end.clock = end.clock, start.clock
            self.sender.send_task(start, end)

    def rejected(self, accepted: Accepted, outcome: Rejected) -> None:
        """It gives its message back."""
        if self.sender.tell:
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
            self.sender.send_task(event)

    def unknown(self, request: Request) -> None:
        """There is no such task."""
        error = f"NotRegistered({request.task!r})"
        self.sender.send_task(self._common(TaskFailed, request, exception=error))

    def _end(self, accepted: Accepted, outcome: Outcome) -> TaskEvent | None:
        request = accepted.request
        match outcome:
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
