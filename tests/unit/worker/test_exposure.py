"""How much a sudden death of the worker may make run twice."""

from __future__ import annotations

from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Outcome, Request, Succeeded
from umbel.worker.fetching.admission import Accepted
from umbel.worker.settling.exposure import Exposure

LATE, EARLY = TaskOptions(acks_late=True), TaskOptions()
LONG, SHORT = 0.001, 0.000_01


def run(count: int, options: TaskOptions = LATE) -> list[Accepted]:
    message = Message(id="id", body=b"")
    return [
        Accepted(
            Request(key=key, id="id", task="t", message=message),
            Delivery(message=message, queue="q", tag=str(key)),
            options,
        )
        for key in range(count)
    ]


def ended(started: list[Accepted], runtime: float) -> list[tuple[Accepted, Outcome]]:
    return [
        (accepted, Succeeded(key=accepted.request.key, runtime=runtime, record=None))
        for accepted in started
    ]


def exposure(runtime: float) -> Exposure:
    """One that has seen tasks of this length, all of them acknowledged."""
    made = Exposure(lambda: 2)
    seen = run(10)
    made.started(seen)
    made.finished(ended(seen, runtime))
    made.settling()
    made.settled()
    return made


def test_before_anything_is_known_no_more_start_than_run_at_once() -> None:
    assert Exposure(lambda: 2).admits(run(100), 80) == 2


def test_short_tasks_go_in_batches() -> None:
    assert exposure(SHORT).admits(run(100), 80) == 80


def test_of_long_tasks_as_many_start_as_run_at_once() -> None:
    assert exposure(LONG).admits(run(100), 80) == 2


def test_a_slot_is_free_when_its_task_is_acknowledged_and_not_before() -> None:
    bounded = exposure(LONG)
    started = run(2)
    bounded.started(started)
    assert bounded.admits(run(5), 5) == 0

    bounded.finished(ended(started[:1], LONG))
    assert bounded.admits(run(5), 5) == 0

    bounded.settling()
    assert bounded.admits(run(5), 5) == 0

    bounded.settled()
    assert bounded.admits(run(5), 5) == 1


def test_what_finishes_meanwhile_waits_for_the_next_acknowledgement() -> None:
    bounded = exposure(LONG)
    started = run(2)
    bounded.started(started)
    bounded.finished(ended(started[:1], LONG))
    bounded.settling()
    bounded.finished(ended(started[1:], LONG))

    bounded.settled()

    assert bounded.admits(run(5), 5) == 1


def test_tasks_that_are_acknowledged_early_are_not_held_up() -> None:
    bounded = exposure(LONG)
    bounded.started(run(2))

    assert bounded.admits(run(5, EARLY), 4) == 4
    assert bounded.admits(run(3, EARLY) + run(5), 8) == 3


def test_one_long_task_is_believed_at_once_and_short_ones_in_time() -> None:
    bounded = exposure(SHORT)
    one = run(1)
    bounded.started(one)
    bounded.finished(ended(one, 1.0))
    bounded.settling()
    bounded.settled()
    assert bounded.admits(run(50), 50) == 2

    many = run(100)
    bounded.started(many)
    bounded.finished(ended(many, SHORT))
    bounded.settling()
    bounded.settled()
    assert bounded.admits(run(50), 50) == 50
