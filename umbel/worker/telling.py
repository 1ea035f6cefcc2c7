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
    TaskReceived,
    TaskRejected,
    TaskRetried,
    TaskRevoked,
    TaskStarted,
    TaskSucceeded,
    shown,
)
from umbel.worker.admission import Accepted

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
        # The keys of tasks whose start has been told.
        self._started: set[int] = set()

    def received(self, run: Sequence[Accepted]) -> None:
        """These are here, and about to start."""
        sender, now = self.sender, self._clock.time()
        hostname, pid, utcoffset = sender.hostname, sender.pid, sender.utcoffset
        clock = sender.logical_clock.skip(len(run))
        events: list[TaskEvent] = []
        for accepted in run:
            if not accepted.options.send_events:
                continue
            request = accepted.request
            said = shown(request.message)
            clock += 1
            events.append(
                TaskReceived(
                    uuid=request.id,
                    hostname=hostname,
                    pid=pid,
                    utcoffset=utcoffset,
                    clock=clock,
                    timestamp=now,
                    name=request.task,
                    args=said.argsrepr,
                    kwargs=said.kwargsrepr,
                    root_id=request.root_id,
                    parent_id=request.parent_id,
                    retries=request.retries,
                    eta=said.eta,
                    expires=said.expires,
                )
            )
        sender.send_tasks(events)

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
        events: list[TaskEvent] = []
        for running in self._pool.running():
            accepted = self._active.get(running.key)
            if accepted is None or running.key in self._started:
                continue
            self._started.add(running.key)
            if accepted.options.send_events:
                events.append(self._start(accepted.request, now - (monotonic - running.since)))
        if events:
            self.sender.send_tasks(events)

    def ended(self, accepted: Accepted, outcome: Outcome) -> None:
        """It has come to its end, which is not to be tried again as if it had not been."""
        request = accepted.request
        told = request.key in self._started
        self._started.discard(request.key)
        if not accepted.options.send_events:
            return
        if isinstance(outcome, Succeeded) and not told:
            self._succeeded(request, outcome)
            return
        end = self._end(accepted, outcome)
        if end is None:
            return
        if told or not outcome.runtime:
            self.sender.send_tasks([end])
        else:
            # Its number is the higher one, so that it comes last wherever they are sorted.
            start = self._start(request, end.timestamp - outcome.runtime)
            start.clock, end.clock = end.clock, start.clock
            self.sender.send_tasks([start, end])

    def _succeeded(self, request: Request, outcome: Succeeded) -> None:
        """Start and end of a short task: what nearly all come to, so without detours."""
        sender, now = self.sender, self._clock.time()
        id_, hostname, pid, utcoffset = request.id, sender.hostname, sender.pid, sender.utcoffset
        clock = sender.logical_clock.skip(2)
        sender.send_tasks(
            (
                TaskStarted(
                    uuid=id_,
                    hostname=hostname,
                    pid=pid,
                    utcoffset=utcoffset,
                    clock=clock + 1,
                    timestamp=now - outcome.runtime,
                ),
                TaskSucceeded(
                    uuid=id_,
                    hostname=hostname,
                    pid=pid,
                    utcoffset=utcoffset,
                    clock=clock + 2,
                    timestamp=now,
                    result=outcome.shown,
                    runtime=outcome.runtime,
                ),
            )
        )

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
            self.sender.send_tasks([event])

    def unknown(self, request: Request) -> None:
        """There is no such task."""
        error = f"NotRegistered({request.task!r})"
        self.sender.send_tasks([self._common(TaskFailed, request, exception=error)])

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
