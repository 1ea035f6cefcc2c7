"""What finished, lost and refused requests ask for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import inf
from typing import Protocol

from msgspec import structs

from umbel.clock import SystemClock
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    InvalidTaskError,
    Retry,
    SecurityError,
    TooLarge,
)
from umbel.execution import failures
from umbel.execution.runnable import TaskOptions
from umbel.model import (
    Ack,
    Delivery,
    Failed,
    Ignored,
    Nack,
    Outcome,
    Rejected,
    Request,
    ResultRecord,
    Retried,
    Revoked,
    Settlement,
    Succeeded,
)
from umbel.protocols import Clock
from umbel.states import RETRY
from umbel.wire import tasks as wire
from umbel.wire.results import ResultCodec
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fleet.task_events import TaskEvents
from umbel.worker.settling.aftermath import Aftermath
from umbel.worker.settling.verdict import verdict

__all__ = ["Conclusions", "FindAftermath"]

_DONE = Ack()
_GIVE_BACK = Nack(requeue=True)
_CLOCK = SystemClock()
_UNKNOWN = TaskOptions()
"""Of tasks that are not here."""


class FindAftermath(Protocol):
    """See :class:`umbel.worker.settling.aftermath.Aftermaths`."""

    def __call__(
        self, request: Request, record: ResultRecord, *, calls_back: bool, is_refused: bool = False
    ) -> Aftermath:
        """What the task leaves behind."""
        ...


class Conclusions:
    """Turns outcomes into settlements, and makes the records that no task made."""

    def __init__(
        self,
        codec: ResultCodec,
        aftermath_of: FindAftermath,
        events: TaskEvents | None = None,
        *,
        max_deliveries: int | None = None,
        signed_only: bool = False,
        clock: Clock = _CLOCK,
    ) -> None:
        """Make one.

        Args:
            aftermath_of: What a request leaves behind whose task could not see to it itself.
            events: Told of every end.
            max_deliveries: How often a message whose process dies is tried; None: without end.
            signed_only: Whether only signed messages are accepted: others are not believed.
        """
        self._signed_only = signed_only
        self._events = events
        self._clock = clock
        self._max_deliveries = inf if max_deliveries is None else max_deliveries
        self._codec = codec
        self._aftermath_of = aftermath_of
        self._abandoning = False
        self._terminating: dict[int, tuple[int, object]] = {}

    def abandon(self) -> None:
        """Cold shutdown: what is lost from now on is our doing, and goes back where it can."""
        self._abandoning = True

    def of_all(self, ended: Sequence[tuple[Accepted, Outcome]]) -> list[Settlement]:
        """What the ends of requests that ran ask for, in their order."""
        settlements = [self.of(accepted, outcome) for accepted, outcome in ended]
        if self._events is not None and self._events.sender.tell:
            self._events.succeeded(ended)
        return settlements

    def of(self, accepted: Accepted, outcome: Outcome) -> Settlement:
        """What the end of a request that ran asks for."""
        if self._terminating:
            ordered = self._terminating.pop(outcome.key, None)
            if ordered is not None and _says_nothing(outcome):
                return self._terminated(accepted, *ordered)
        if self._abandoning and _says_nothing(outcome):
            if outcome.runtime == 0 and isinstance(outcome, Revoked):
                # Never started: anybody may run it.
                return Settlement(delivery=accepted.delivery, verdict=_GIVE_BACK)
            return self.abandoned(accepted)
        options = accepted.options
        if options.retry_on_worker_lost and _is_lost(outcome):
            again = self._again(accepted, outcome)
            if again is not None:
                return self._settlement(accepted, again, _DONE)
            if _is_exhausted(accepted):
                # It fails, whatever else is said of lost processes.
                options = structs.replace(options, reject_on_worker_lost=False)
        if not options.acks_late:
            return self._settlement(accepted, outcome, _DONE)
        return self._of_late(accepted, outcome, verdict(outcome, options))

    def _of_late(self, accepted: Accepted, outcome: Outcome, decision: Ack | Nack) -> Settlement:
        """What the end asks for of one whose message is still there."""
        if isinstance(decision, Nack) and decision.requeue:
            attempt = accepted.delivery.attempt
            if not decision.counts or attempt < self._max_deliveries:
                if isinstance(outcome, Rejected) and self._events is not None:
                    self._events.rejected(accepted, outcome)
                # It will run again: nothing of this run may be seen.
                return Settlement(delivery=accepted.delivery, verdict=decision)
            reason = _given_up(attempt, _last_words(outcome))
            decision = Nack(requeue=False, reason=reason)
            if isinstance(outcome, Failed) and outcome.cause == "worker-lost":
                outcome = structs.replace(outcome, reason=reason)
        elif isinstance(decision, Nack):
            said = outcome.reason if isinstance(outcome, Rejected) else ""
            end = "rejected by the task" if isinstance(outcome, Rejected) else "the task failed"
            decision = Nack(requeue=False, reason=f"{end}: {said}" if said else end)
        return self._settlement(accepted, outcome, decision)

    def _again(self, accepted: Accepted, outcome: Outcome) -> Retried | None:
        """Another try for a task whose process is gone; None when it has none left, or its message
        cannot be sent again.

        Source:
            Celery configuration, ``task_retry_on_worker_lost``: as with ``Task.retry``,
            ``max_retries`` and ``default_retry_delay`` apply.
        """
        request, options = accepted.request, accepted.options
        if _is_exhausted(accepted):
            return None
        delay = options.default_retry_delay
        due = self._clock.now() + timedelta(seconds=delay)
        try:
            message = wire.next_try(request, due)
        except (InvalidTaskError, DecodeError) as error:
            reports.not_retried(request, error)
            return None
        lost = failures.worker_lost(_last_words(outcome))
        reports.retried(request, Retry(exc=lost, when=delay))
        keeps = not _ignores(request, options) or options.store_errors_even_if_ignored
        return Retried(
            key=outcome.key,
            runtime=outcome.runtime,
            record=self._codec.state(request, RETRY, lost) if keeps else None,
            message=message,
            shown=(repr(lost), ""),
        )

    def abandoned(self, accepted: Accepted) -> Settlement:
        """What a request asks for that a cold shutdown ended: another run, where that is left."""
        if accepted.options.acks_late:
            reports.given_back(accepted.request)
            return Settlement(delivery=accepted.delivery, verdict=_GIVE_BACK)
        outcome = Failed(
            key=accepted.request.key,
            runtime=0.0,
            record=None,
            cause="worker-lost",
            reason="cold shutdown",
        )
        return self._settlement(accepted, outcome, _DONE)

    def spent(self, accepted: Accepted) -> Settlement:
        """A task whose worker died in every attempt to run it: a failure, and a dead letter."""
        reason = _given_up(accepted.delivery.attempt - 1, "the worker died")
        outcome = Failed(
            key=accepted.request.key, runtime=0.0, record=None, cause="worker-lost", reason=reason
        )
        return self._settlement(accepted, outcome, Nack(requeue=False, reason=reason))

    def orphaned(
        self, request: Request, delivery: Delivery, options: TaskOptions | None
    ) -> Settlement:
        """A task that a worker had begun when it died: a failure.

        Args:
            options: The task's; None when it is not here.
        """
        accepted = Accepted(request, delivery, options or _UNKNOWN)
        outcome = Failed(
            key=request.key,
            runtime=0.0,
            record=None,
            cause="worker-lost",
            reason="the worker that had begun the task is gone",
        )
        # It may have died after storing what the task returned.
        return structs.replace(self._settlement(accepted, outcome, _DONE), doubtful=True)

    def expired(self, accepted: Accepted) -> Settlement:
        """A message whose time was over before it was started: recorded as revoked."""
        return self._revoked(accepted, "expired")

    def revoked(self, accepted: Accepted) -> Settlement:
        """A message that was revoked before it was started."""
        return self._revoked(accepted, "revoked")

    def terminate(self, key: int, signum: int, task: object) -> None:
        """What becomes of this one from now on is our doing: it was revoked as it ran."""
        self._terminating[key] = signum, task

    def _terminated(self, accepted: Accepted, signum: int, task: object) -> Settlement:
        reports.terminated(accepted, task, signum)
        return self._revoked(accepted, "terminated", signum)

    def _revoked(self, accepted: Accepted, reason: str, signum: int | None = None) -> Settlement:
        if self._events is not None and self._events.sender.tell:
            self._events.revoked(accepted, signum=signum, expired=reason == "expired")
        return self._mourned(
            accepted.request,
            accepted.delivery,
            _DONE,
            failures.revoked(accepted.request, reason, self._codec),
            keeps=not _ignores(accepted.request, accepted.options),
            calls_back=False,
            has_run=False,
        )

    def unknown(self, request: Request, delivery: Delivery) -> Settlement:
        """A message for a task that is not here: a failure, and a dead letter."""
        if self._events is not None and self._events.sender.tell:
            self._events.unknown(request)
        return self._mourned(
            request,
            delivery,
            Nack(requeue=False, reason=f"no worker knows the task {request.task!r}"),
            failures.unregistered(request, self._codec),
            keeps=not request.ignore_result,
            calls_back=True,
            has_run=False,
        )

    def repeated(self, accepted: Accepted) -> Settlement:
        """A message of a task that is being run because of another one, or has succeeded: done
        without a word."""
        return Settlement(delivery=accepted.delivery, verdict=_DONE)

    def malformed(
        self, delivery: Delivery, request: Request | None, error: Exception
    ) -> Settlement:
        """A message that nobody can read: a dead letter; and a failure, as far as it says of which
        task, unless that has ended: then somebody has used its id once more.

        Args:
            request: What can be read of it; None: nothing.
            error: What is wrong with it.
        """
        refused = Nack(requeue=False, reason=str(error))
        if request is None or not self._believes(error):
            return Settlement(delivery=delivery, verdict=refused)
        settlement = self._mourned(
            request,
            delivery,
            refused,
            self._codec.failed(request, error, None),
            keeps=not request.ignore_result,
            calls_back=True,
            has_run=False,
            is_refused=True,
        )
        return structs.replace(settlement, doubtful=True)

    def _believes(self, error: Exception) -> bool:
        """Whether a message that is refused for ``error`` is of the task that it names, as far as
        anybody knows who may send unsigned ones."""
        if isinstance(error, SecurityError) and not isinstance(error, TooLarge | ContentDisallowed):
            return False
        return not (self._signed_only and isinstance(error, ContentDisallowed))

    def _settlement(
        self,
        accepted: Accepted,
        outcome: Outcome,
        decision: Ack | Nack,
    ) -> Settlement:
        delivery = accepted.delivery
        if (
            self._events is not None
            and self._events.sender.tell
            and outcome.__class__ is not Succeeded
        ):
            self._events.ended(accepted, outcome)
        match outcome:
            case Succeeded() | Failed(cause="raised", reason=""):
                return Settlement(
                    delivery=delivery,
                    verdict=decision,
                    record=outcome.record,
                    tail=outcome.tail if isinstance(outcome, Failed) else (),
                    publish=outcome.follow_ups,
                    expect=outcome.expect,
                    arrivals=outcome.arrivals,
                )
            case Retried():
                return Settlement(
                    delivery=delivery,
                    verdict=decision,
                    record=outcome.record,
                    publish=(outcome.message,),
                )
            case Ignored():
                return Settlement(
                    delivery=delivery,
                    verdict=decision,
                    tail=outcome.tail,
                    publish=outcome.follow_ups,
                    expect=outcome.expect,
                    arrivals=outcome.arrivals,
                )
            case Rejected():
                return Settlement(
                    delivery=delivery,
                    verdict=decision,
                    record=outcome.record,
                    tail=outcome.tail,
                    arrivals=outcome.arrivals,
                )
            case Failed():
                return self._of_lost(accepted, outcome, decision)
            case _:
                request = accepted.request
                return self._mourned(
                    request,
                    delivery,
                    decision,
                    outcome.record or failures.revoked(request, "terminated", self._codec),
                    keeps=outcome.record is not None,
                    calls_back=False,
                )

    def _of_lost(self, accepted: Accepted, outcome: Failed, decision: Ack | Nack) -> Settlement:
        request, options = accepted.request, accepted.options
        reports.stopped(request, outcome)
        return self._mourned(
            request,
            accepted.delivery,
            decision,
            self._record_of_lost(accepted, outcome),
            keeps=not _ignores(request, options) or options.store_errors_even_if_ignored,
            calls_back=True,
        )

    def _mourned(
        self,
        request: Request,
        delivery: Delivery,
        decision: Ack | Nack,
        record: ResultRecord,
        *,
        keeps: bool,
        calls_back: bool,
        has_run: bool = True,
        is_refused: bool = False,
    ) -> Settlement:
        """What the end of a task that could not speak for itself asks for.

        Args:
            record: Its end.
            keeps: Whether that is stored.
            has_run: Whether its message has been read before, and its signature been checked.
            is_refused: Whether its message was found to be faulty.
        """
        legacy = self._aftermath_of(request, record, calls_back=calls_back, is_refused=is_refused)
        if legacy.is_forged and not has_run:
            return Settlement(delivery=delivery, verdict=decision)
        return Settlement(
            delivery=delivery,
            verdict=decision,
            record=record if keeps else None,
            tail=legacy.tail,
            publish=legacy.publish,
            expect=legacy.expect,
            arrivals=legacy.arrivals,
        )

    def _record_of_lost(self, accepted: Accepted, outcome: Failed) -> ResultRecord:
        request, options = accepted.request, accepted.options
        if outcome.cause == "time-limit":
            limit = request.time_limit if request.time_limit is not None else options.time_limit
            return failures.timed_out(request, limit, self._codec)
        return failures.lost(request, outcome.reason, self._codec)


def _ignores(request: Request, options: TaskOptions) -> bool:
    return options.ignore_result if request.ignore_result is None else request.ignore_result


def _given_up(attempts: int, last: str) -> str:
    return f"given up after {attempts} attempts, each of which ended its process: {last}"


def _last_words(outcome: Outcome) -> str:
    if isinstance(outcome, Failed) and outcome.cause == "time-limit":
        return "hard time limit exceeded"
    return outcome.reason if isinstance(outcome, Failed) else ""


def _is_lost(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.cause == "worker-lost"


def _is_exhausted(accepted: Accepted) -> bool:
    most = accepted.options.max_retries
    return most is not None and accepted.request.retries >= most


def _says_nothing(outcome: Outcome) -> bool:
    """Whether the pool, not the task, ended it."""
    if isinstance(outcome, Revoked):
        return outcome.record is None
    return _is_lost(outcome)
