"""Requests that wait in the worker until they are due."""

from __future__ import annotations

from math import inf

from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Request
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.holding import Holding


def waiting(key: int, eta: float) -> Accepted:
    message = Message(id=f"id-{key}", body=b"[]")
    return Accepted(
        Request(key=key, id=message.id, task="t", message=message, eta=eta),
        Delivery(message=message, queue="q", tag=f"tag-{key}"),
        TaskOptions(),
    )


def keys(requests: list[Accepted]) -> list[int]:
    return [accepted.request.key for accepted in requests]


def test_what_is_due_first_leaves_first() -> None:
    holding = Holding()
    holding.add([waiting(1, 30.0), waiting(2, 10.0), waiting(3, 20.0)])

    assert holding.next_due == 10.0
    assert keys(holding.take_due(25.0, limit=10)) == [2, 3]
    assert keys(holding.take_due(25.0, limit=10)) == []
    assert holding.next_due == 30.0


def test_what_is_due_at_the_same_time_leaves_in_the_order_it_came() -> None:
    holding = Holding()
    holding.add([waiting(2, 10.0), waiting(1, 10.0), waiting(3, 10.0)])

    assert keys(holding.take_due(10.0, limit=2)) == [1, 2]


def test_nothing_is_due_where_nothing_waits() -> None:
    assert Holding().next_due == inf
    assert Holding().take_due(inf, limit=1) == []


def test_it_is_full_at_its_limit_and_never_without_one() -> None:
    limited, unlimited = Holding(2), Holding()
    for holding in (limited, unlimited):
        holding.add([waiting(1, 10.0), waiting(2, 10.0)])

    assert limited.is_full
    assert not unlimited.is_full


def test_everything_is_handed_over_at_the_end_earliest_first() -> None:
    holding = Holding()
    holding.add([waiting(1, 30.0), waiting(2, 10.0)])

    assert keys(holding.take_all()) == [2, 1]
    assert len(holding) == 0
