"""Last attempts of what may kill its worker."""

from __future__ import annotations

from umbel.clock import ManualClock
from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Request
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.last_attempts import LastAttempts

LATE = TaskOptions(acks_late=True)


def accepted(key: int, attempt: int, options: TaskOptions = LATE) -> Accepted:
    message = Message(id=f"{key}", body=b"[]")
    request = Request(key=key, id=message.id, task="t", message=message)
    delivery = Delivery(message=message, queue="q", tag=f"{key}", attempt=attempt)
    return Accepted(request, delivery, options)


def keys(run: list[Accepted]) -> list[int]:
    return [each.request.key for each in run]


def settled_in(most: int | None, active: dict[int, Accepted]) -> LastAttempts:
    """Those of a worker that has been there for a while."""
    clock = Past()
    attempts = LastAttempts(most, active, clock)
    clock.late = 10.0
    return attempts


class Past(ManualClock):
    """A clock that jumps."""

    late = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.late


def test_a_worker_that_was_just_started_makes_no_last_attempts() -> None:
    clock = Past()
    attempts = LastAttempts(3, {}, clock)
    last = accepted(1, 3)

    attempts.set_apart([last])

    assert attempts.next() == []
    assert attempts.wait > 0
    clock.late = 10.0
    assert attempts.wait == 0
    assert attempts.next() == [last]


def test_last_attempts_wait_for_their_turn_and_the_others_do_not() -> None:
    active: dict[int, Accepted] = {}
    attempts = settled_in(3, active)
    last, other = accepted(1, 3), accepted(2, 3)

    assert keys(attempts.set_apart([last, accepted(3, 2), other, accepted(4, 1)])) == [3, 4]

    assert attempts.next() == [last]
    active[1] = last
    assert attempts.next() == []
    del active[1]
    assert attempts.next() == [other]


def test_tasks_without_acks_late_have_no_last_attempt() -> None:
    attempts = settled_in(3, {})
    early = accepted(1, 3, TaskOptions())

    assert attempts.set_apart([early]) == [early]
    assert attempts.next() == []


def test_without_a_bound_nothing_is_set_apart() -> None:
    run = [accepted(1, 1000)]

    assert settled_in(None, {}).set_apart(run) == run


def test_what_waits_for_its_turn_is_handed_over_at_the_end() -> None:
    attempts = settled_in(2, {})
    attempts.set_apart([accepted(1, 2), accepted(2, 5)])

    assert keys(attempts.take_all()) == [1, 2]
    assert attempts.take_all() == []
