"""What was received and has not reached the pool."""

from __future__ import annotations

from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Request
from umbel.worker.fetching.admission import Accepted, Ruling
from umbel.worker.fetching.handover import Handover


def accepted(key: int) -> Accepted:
    message = Message(id=str(key), body=b"")
    request = Request(key=key, id=str(key), task="t", message=message)
    return Accepted(request, Delivery(message=message, queue="q", tag=str(key)), TaskOptions())


def ruling(*keys: int) -> Ruling:
    run = [accepted(key) for key in keys]
    begin = [each.delivery for each in run]
    return Ruling(run, begin, [], [], [], [], [], [], [], [])


def keys(handover: Handover) -> list[int]:
    return [each.request.key for each in handover]


def test_each_request_is_counted_once_wherever_it_is() -> None:
    handover = Handover()
    handover.rulings += [ruling(1, 2, 3), ruling(4)]
    assert keys(handover) == [1, 2, 3, 4]

    run = handover.next().run
    assert keys(handover) == [1, 2, 3, 4]

    handover.offer(run)
    assert keys(handover) == [1, 2, 3, 4]

    assert [each.request.key for each in handover.take(2)] == [1, 2]
    assert keys(handover) == [1, 2, 3, 4]

    handover.arrived()
    assert keys(handover) == [3, 4]
    assert len(handover) == 2


def test_what_is_surrendered_is_gone_and_nothing_else() -> None:
    handover = Handover()
    handover.rulings += [ruling(1, 2), ruling(3, 4)]
    first = handover.next()
    handover.offer(first.run)

    assert [each.request.key for each in handover.surrender()] == [1, 2, 3, 4]

    assert not handover
    assert [each.request.key for each in first.run] == [1, 2], "it has been carried out as it was"
    second = handover.next()
    assert (second.run, second.begin) == ([], []), "nothing of it is to be begun any more"


def test_what_is_being_prepared_is_not_surrendered() -> None:
    handover = Handover()
    handover.rulings += [ruling(1, 2), ruling(3)]
    handover.next()

    assert [each.request.key for each in handover.surrender()] == [3]
    assert keys(handover) == [1, 2]


def test_at_the_end_everything_is_handed_over() -> None:
    handover = Handover()
    handover.offer([accepted(1)])
    waiting = accepted(2)
    handover.rulings.append(Ruling([], [], [], [], [waiting], [], [], [], [], []))

    assert [delivery.tag for delivery in handover.leftovers()] == ["1", "2"]
    assert not handover
    assert not handover.rulings
