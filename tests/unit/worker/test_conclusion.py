"""What finished, lost and refused requests ask for."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from umbel.clock import ManualClock
from umbel.exceptions import (
    ContentDisallowed,
    InvalidTaskError,
    SecurityError,
    TooLarge,
    WorkerLostError,
)
from umbel.execution.runnable import TaskOptions
from umbel.model import (
    Ack,
    Arrival,
    Delivery,
    Failed,
    Ignored,
    Message,
    Nack,
    Rejected,
    Request,
    ResultRecord,
    Retried,
    Revoked,
    Settlement,
    Succeeded,
)
from umbel.wire.results import ResultCodec
from umbel.worker.fetching.admission import Accepted
from umbel.worker.settling.aftermath import Aftermath
from umbel.worker.settling.conclusion import Conclusions

EARLY = TaskOptions()
LATE = TaskOptions(acks_late=True)
AGAIN = TaskOptions(acks_late=True, reject_on_worker_lost=True)
RECORD = ResultRecord(id="id", state="SUCCESS", body=b"{}")
FOLLOW_UP = Message(id="next", body=b"[]")
ERROR_CALLBACK = Message(id="sorry", body=b"[]")
TAIL = ResultRecord(id="after", state="FAILURE", body=b"{}")
LOST = Failed(key=1, runtime=0.5, record=None, cause="worker-lost", reason="signal 9 (SIGKILL)")
OVERRUN = Failed(key=1, runtime=3.0, record=None, cause="time-limit")


@pytest.fixture
def conclusions() -> Conclusions:
    return Conclusions(ResultCodec(), aftermath_of)


def aftermath_of(
    request: Request, record: ResultRecord, *, calls_back: bool, is_refused: bool = False
) -> Aftermath:
    """Everything there can be left behind."""
    arrival = Arrival(chord_id="c", index=0, size=0, record=record, body=b"-")
    return Aftermath((ERROR_CALLBACK,) if calls_back else (), (), (TAIL,), (arrival,))


def accepted(options: TaskOptions, *, attempt: int = 1, **fields: Any) -> Accepted:
    message = Message(id="id", body=b"[]", exchange="news", routing_key="sport")
    request = Request(key=1, id="id", task="t", message=message, queue="q", **fields)
    return Accepted(
        request, Delivery(message=message, queue="q", tag="tag", attempt=attempt), options
    )


def stored(settlement: Settlement) -> tuple[str, str]:
    assert settlement.record is not None
    document = json.loads(settlement.record.body)
    return document["status"], document["result"]["exc_type"]


def test_success_stores_the_record_and_publishes_what_follows(conclusions: Conclusions) -> None:
    outcome = Succeeded(key=1, runtime=0.1, record=RECORD, follow_ups=(FOLLOW_UP,))

    early, late = (conclusions.of(accepted(options), outcome) for options in (EARLY, LATE))

    assert early == late
    assert early.delivery is not None
    assert early == Settlement(
        delivery=early.delivery, verdict=Ack(), record=RECORD, publish=(FOLLOW_UP,)
    )


def test_a_retry_publishes_the_next_attempt(conclusions: Conclusions) -> None:
    outcome = Retried(key=1, runtime=0.1, record=RECORD, message=FOLLOW_UP)

    settlement = conclusions.of(accepted(LATE), outcome)

    assert (settlement.record, settlement.publish) == (RECORD, (FOLLOW_UP,))


def test_what_is_ignored_leaves_nothing(conclusions: Conclusions) -> None:
    one = accepted(EARLY)

    settlement = conclusions.of(one, Ignored(key=1))

    assert settlement == Settlement(delivery=one.delivery, verdict=Ack())


def test_what_goes_back_leaves_no_result_and_publishes_nothing(conclusions: Conclusions) -> None:
    outcome = Rejected(key=1, requeue=True, record=RECORD)

    settlement = conclusions.of(accepted(LATE), outcome)

    assert settlement.verdict == Nack(requeue=True)
    assert (settlement.record, settlement.publish) == (None, ())


@pytest.mark.parametrize("outcome", [LOST, OVERRUN])
def test_the_last_attempt_that_ends_its_process_makes_a_dead_letter(outcome: Failed) -> None:
    conclusions = Conclusions(ResultCodec(), aftermath_of, max_deliveries=3)
    options = TaskOptions(acks_late=True, reject_on_worker_lost=True, acks_on_timeout=False)

    ends = [conclusions.of(accepted(options, attempt=n), outcome) for n in (1, 2, 3)]

    assert [end.verdict for end in ends[:2]] == [Nack(requeue=True, counts=True)] * 2
    assert isinstance(ends[2].verdict, Nack)
    assert not ends[2].verdict.requeue
    assert ends[2].verdict.reason.startswith("given up after 3 attempts")
    assert ends[2].record is not None
    assert ends[2].publish == (ERROR_CALLBACK,)


def test_what_no_worker_survived_fails_and_becomes_a_dead_letter(conclusions: Conclusions) -> None:
    settlement = conclusions.spent(accepted(AGAIN, attempt=4))

    assert stored(settlement) == ("FAILURE", "WorkerLostError")
    assert settlement.publish == (ERROR_CALLBACK,)
    assert isinstance(settlement.verdict, Nack)
    assert "given up after 3 attempts" in settlement.verdict.reason


@pytest.mark.parametrize("options", [EARLY, LATE])
def test_a_lost_process_fails_the_task_and_its_error_callbacks_are_sent(
    conclusions: Conclusions, options: TaskOptions
) -> None:
    settlement = conclusions.of(accepted(options), LOST)

    assert stored(settlement) == ("FAILURE", "WorkerLostError")
    assert settlement.publish == (ERROR_CALLBACK,)


def test_a_lost_process_gives_the_message_back_where_the_task_says_so(
    conclusions: Conclusions,
) -> None:
    settlement = conclusions.of(accepted(AGAIN), LOST)

    assert settlement.verdict == Nack(requeue=True, counts=True)
    assert (settlement.record, settlement.publish) == (None, ())


def test_a_hard_time_limit_is_a_failure_that_names_the_limit(conclusions: Conclusions) -> None:
    outcome = Failed(key=1, runtime=3.0, record=None, cause="time-limit")

    settlement = conclusions.of(accepted(EARLY, time_limit=3.0), outcome)

    assert stored(settlement) == ("FAILURE", "TimeLimitExceeded")


def test_a_failure_of_the_pool_itself_is_recorded(conclusions: Conclusions) -> None:
    outcome = Failed(key=1, runtime=0.0, record=None, reason="ValueError('oops')")

    settlement = conclusions.of(accepted(EARLY), outcome)

    assert stored(settlement) == ("FAILURE", "WorkerLostError")


@pytest.mark.parametrize(
    ("options", "ignore_result", "kept"),
    [
        (TaskOptions(ignore_result=True), None, False),
        (TaskOptions(ignore_result=True), False, True),
        (TaskOptions(), True, False),
        (TaskOptions(store_errors_even_if_ignored=True), True, True),
    ],
)
def test_failures_of_tasks_that_ignore_results_are_kept_only_if_asked_for(
    conclusions: Conclusions, options: TaskOptions, ignore_result: bool | None, kept: bool
) -> None:
    settlement = conclusions.of(accepted(options, ignore_result=ignore_result), LOST)

    assert (settlement.record is not None) is kept


def test_the_log_says_what_became_of_lost_tasks(
    conclusions: Conclusions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        conclusions.of(accepted(EARLY), LOST)
        conclusions.of(
            accepted(EARLY, time_limit=3.0),
            Failed(key=1, runtime=3.0, record=None, cause="time-limit"),
        )

    assert "signal 9 (SIGKILL)" in caplog.messages[0]
    assert caplog.messages[1].endswith("t[id]")


def test_what_is_expired_unknown_or_malformed_is_recorded(conclusions: Conclusions) -> None:
    one = accepted(EARLY)

    expired = conclusions.expired(one)
    unknown = conclusions.unknown(one.request, one.delivery)
    malformed = conclusions.malformed(one.delivery, one.request, InvalidTaskError("no JSON"))
    nameless = conclusions.malformed(one.delivery, None, InvalidTaskError("no JSON"))

    assert stored(expired) == ("REVOKED", "TaskRevokedError")
    assert expired.verdict == Ack()
    assert stored(unknown) == ("FAILURE", "NotRegistered")
    assert unknown.verdict == Nack(requeue=False, reason="no worker knows the task 't'")
    assert stored(malformed) == ("FAILURE", "InvalidTaskError")
    assert malformed.verdict == nameless.verdict == Nack(requeue=False, reason="no JSON")
    assert malformed.doubtful
    assert nameless.record is None


@pytest.mark.parametrize(
    ("error", "signed_only", "is_believed"),
    [
        (ContentDisallowed("pickle"), False, True),
        (ContentDisallowed("not signed"), True, False),
        (SecurityError("forged"), False, False),
        (SecurityError("forged"), True, False),
        (TooLarge("a bomb"), True, True),
    ],
)
def test_who_cannot_be_believed_ends_no_task(
    error: Exception, signed_only: bool, is_believed: bool
) -> None:
    one = accepted(EARLY)
    conclusions = Conclusions(ResultCodec(), aftermath_of, signed_only=signed_only)

    settlement = conclusions.malformed(one.delivery, one.request, error)

    assert settlement.verdict == Nack(requeue=False, reason=str(error))
    assert (settlement.record is not None) is is_believed
    assert bool(settlement.arrivals) is is_believed


def test_expired_and_unknown_tasks_that_ignore_results_leave_none(
    conclusions: Conclusions,
) -> None:
    one = accepted(EARLY, ignore_result=True)

    assert conclusions.expired(one).record is None
    assert conclusions.unknown(one.request, one.delivery).record is None


def test_what_a_cold_shutdown_ends_goes_back_or_fails(conclusions: Conclusions) -> None:
    conclusions.abandon()

    late = conclusions.of(accepted(LATE), LOST)
    early = conclusions.of(accepted(EARLY), Revoked(key=1, record=None, runtime=0.5))

    assert late.verdict == Nack(requeue=True)
    assert stored(early) == ("FAILURE", "WorkerLostError")


def test_what_a_cold_shutdown_kept_from_starting_runs_elsewhere(conclusions: Conclusions) -> None:
    conclusions.abandon()
    never_started = Revoked(key=1, record=None, runtime=0.0)

    late = conclusions.of(accepted(LATE), never_started)
    early = conclusions.of(accepted(EARLY), never_started)

    assert late.verdict == early.verdict == Nack(requeue=True)
    assert (early.record, early.publish) == (None, ())


@pytest.mark.parametrize("options", [EARLY, LATE, None])
def test_what_a_dead_worker_had_begun_fails_and_its_error_callbacks_are_sent(
    conclusions: Conclusions, options: TaskOptions | None, caplog: pytest.LogCaptureFixture
) -> None:
    one = accepted(EARLY)

    settlement = conclusions.orphaned(one.request, one.delivery, options)

    assert stored(settlement) == ("FAILURE", "WorkerLostError")
    assert settlement.publish == (ERROR_CALLBACK,)
    assert (settlement.delivery, settlement.verdict) == (one.delivery, Ack())
    assert "the worker that had begun the task is gone" in caplog.messages[0]


def test_a_begun_task_that_ignores_its_result_is_only_logged(
    conclusions: Conclusions, caplog: pytest.LogCaptureFixture
) -> None:
    one = accepted(EARLY)

    settlement = conclusions.orphaned(one.request, one.delivery, TaskOptions(ignore_result=True))

    assert settlement.record is None
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("end", "state", "calls_back"),
    [
        ("lost", "FAILURE", True),
        ("orphaned", "FAILURE", True),
        ("timed out", "FAILURE", True),
        ("revoked", "REVOKED", False),
        ("expired", "REVOKED", False),
        ("terminated", "REVOKED", False),
        ("unknown", "FAILURE", True),
    ],
)
@pytest.mark.parametrize("ignores", [False, True])
def test_what_ends_without_a_word_is_told_to_its_chord_and_to_what_was_to_come(
    conclusions: Conclusions, end: str, state: str, calls_back: bool, ignores: bool
) -> None:
    one = accepted(EARLY, ignore_result=ignores)
    if end == "terminated":
        conclusions.terminate(1, 15, None)
    settlement = {
        "lost": lambda: conclusions.of(one, LOST),
        "orphaned": lambda: conclusions.orphaned(one.request, one.delivery, EARLY),
        "timed out": lambda: conclusions.of(
            one, Failed(key=1, runtime=3.0, record=None, cause="time-limit")
        ),
        "revoked": lambda: conclusions.revoked(one),
        "expired": lambda: conclusions.expired(one),
        "terminated": lambda: conclusions.of(one, Revoked(key=1, record=None, runtime=0.5)),
        "unknown": lambda: conclusions.unknown(one.request, one.delivery),
    }[end]()

    [arrival] = settlement.arrivals
    assert (arrival.record.id, arrival.record.state) == ("id", state)
    assert settlement.tail == (TAIL,)
    assert settlement.publish == ((ERROR_CALLBACK,) if calls_back else ())
    assert (settlement.record is None) is ignores
    assert settlement.doubtful is (end == "orphaned")


RETRIED = TaskOptions(retry_on_worker_lost=True, max_retries=2, default_retry_delay=30)
RETRIED_OR_AGAIN = TaskOptions(
    acks_late=True,
    reject_on_worker_lost=True,
    retry_on_worker_lost=True,
    max_retries=2,
    default_retry_delay=30,
)


@pytest.mark.parametrize("options", [RETRIED, RETRIED_OR_AGAIN])
def test_a_task_that_wants_it_is_tried_again_when_its_process_is_lost(
    options: TaskOptions, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    caplog.set_level(logging.INFO)

    settlement = Conclusions(ResultCodec(), aftermath_of, clock=clock).of(accepted(options), LOST)

    [message] = settlement.publish
    headers = json.loads(message.headers)
    assert (message.id, message.body) == ("id", b"[]")
    assert (message.exchange, message.routing_key) == ("news", "sport")
    assert headers["retries"] == 1
    assert message.not_before == clock.time() + 30
    assert settlement.verdict == Ack()
    assert settlement.record is not None
    meta = ResultCodec().read(settlement.record)
    assert meta.status == "RETRY"
    assert isinstance(meta.result, WorkerLostError)
    assert settlement.arrivals == settlement.tail == ()
    assert "Task t[id] retry: Retry in 30s" in caplog.text


@pytest.mark.parametrize("options", [RETRIED, RETRIED_OR_AGAIN])
def test_it_fails_when_it_has_been_tried_often_enough(
    conclusions: Conclusions, options: TaskOptions
) -> None:
    settlement = conclusions.of(accepted(options, retries=2), LOST)

    assert settlement.verdict == Ack()
    assert settlement.record is not None
    assert settlement.record.state == "FAILURE"
    assert settlement.publish == (ERROR_CALLBACK,)


def test_what_cannot_be_sent_again_is_given_back_or_fails_as_before(
    conclusions: Conclusions, caplog: pytest.LogCaptureFixture
) -> None:
    given_back = conclusions.of(accepted(RETRIED_OR_AGAIN, protocol=1), LOST)
    failed = conclusions.of(accepted(RETRIED, protocol=1), LOST)

    assert given_back.verdict == Nack(requeue=True, counts=True)
    assert failed.record is not None
    assert failed.record.state == "FAILURE"
    assert "Failed to retry task t[id] after worker was lost" in caplog.text


def test_a_hard_time_limit_is_no_loss(conclusions: Conclusions) -> None:
    settlement = conclusions.of(accepted(RETRIED), OVERRUN)

    assert settlement.record is not None
    assert settlement.record.state == "FAILURE"
