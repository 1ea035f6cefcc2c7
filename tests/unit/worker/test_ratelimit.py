"""How often tasks may start, and what waits for its turn."""

from __future__ import annotations

from math import inf

import pytest

from umbel.clock import ManualClock
from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Request
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.ratelimit import RateLimits, per_second


def accepted(key: int, task: str = "mail") -> Accepted:
    message = Message(id=f"{key}", body=b"[]")
    return Accepted(
        Request(key=key, id=message.id, task=task, message=message),
        Delivery(message=message, queue="q", tag=f"{key}"),
        TaskOptions(),
    )


def limits(rate: str | float | None, task: str = "mail") -> tuple[RateLimits, ManualClock]:
    clock = ManualClock()
    made = RateLimits(clock)
    made.set(task, rate)
    return made, clock


@pytest.mark.parametrize(
    ("rate", "expected"),
    [("100/s", 100), ("30/m", 0.5), ("36/h", 0.01), ("5", 5), (5, 5), (0.5, 0.5), (" 3 / m", 0.05)],
)
def test_rates_are_read_as_celery_reads_them(rate: str | float, expected: float) -> None:
    assert per_second(rate) == pytest.approx(expected)


@pytest.mark.parametrize("rate", [None, 0, "", "0/m"])
def test_no_rate_is_no_limit(rate: str | float | None) -> None:
    assert per_second(rate) == inf


@pytest.mark.parametrize("rate", ["often", "10/d", "-1/s", "nan", "inf/s", "10/m/s"])
def test_what_is_no_rate_is_refused_with_what_would_be(rate: str) -> None:
    with pytest.raises(ValueError, match="is not a rate limit: write '100/s'"):
        per_second(rate)


async def test_over_any_stretch_no_more_start_than_the_rate_allows() -> None:
    rates, clock = limits("10/s")
    started: list[float] = []
    waiting = [accepted(key) for key in range(60)]
    while len(started) < 50:
        while waiting and rates.offer(waiting[0]) is None:
            waiting.pop(0)
        started += [clock.monotonic()] * len(rates.take(100))
        await clock.advance(max(rates.next_turn(), 0.001))

    assert started[-1] - started[0] == pytest.approx(4.9, abs=0.2)
    for place in range(len(started) - 10):
        assert started[place + 10] - started[place] >= 0.99


def test_each_type_has_a_limit_of_its_own_and_others_have_none() -> None:
    rates, _ = limits("1/h")
    rates.set("call", "1/h")
    assert not rates.limits("other")
    for each in (accepted(1), accepted(2, "call")):
        assert rates.offer(each) is None

    assert [each.request.key for each in rates.take(9)] == [1, 2]


def test_little_is_kept_here_and_the_rest_is_parked_until_its_turn() -> None:
    rates, _ = limits("2/s")
    delays = [rates.offer(accepted(key)) for key in range(1000)]

    assert delays[:4] == [None] * 4
    parked = [delay for delay in delays if delay is not None]
    assert parked[:3] == pytest.approx([2.5, 3.0, 3.5])
    assert max(parked) <= 60
    assert len(rates) == 4


async def test_what_is_parked_again_and_again_does_not_come_back_ever_later() -> None:
    rates, clock = limits("10/m")
    for _ in range(100):
        delays = [rates.offer(accepted(key)) for key in range(1000)]
        await clock.advance(60)

    assert max(delay for delay in delays if delay is not None) <= 60


async def test_a_new_rate_holds_for_what_waits() -> None:
    rates, clock = limits("1/h")
    for key in range(3):
        rates.offer(accepted(key))
    rates.take(9)
    waiting = len(rates)
    rates.set("mail", "100/s")
    await clock.advance(1)

    assert len(rates.take(9)) == waiting

    rates.offer(accepted(9))
    rates.set("mail", None)
    assert [each.request.key for each in rates.take(9)] == [9]


def test_disabled_limits_limit_nothing() -> None:
    rates = RateLimits(ManualClock(), enabled=False)
    rates.set("mail", "1/h")

    assert not rates.any
