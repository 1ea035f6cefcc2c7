"""Repeating what failed because a server was away."""

from __future__ import annotations

import asyncio
import logging

import pytest

from umbel.clock import ManualClock
from umbel.exceptions import BackendUnavailable, BrokerUnavailable, QueueConflict
from umbel.worker.settling.patience import Patience


class Server:
    """Away for the first few calls."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[float] = []

    async def call(self, clock: ManualClock) -> str:
        self.calls.append(clock.monotonic())
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


async def test_a_call_is_repeated_at_growing_intervals_until_the_server_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    away = [BrokerUnavailable("cannot reach x"), BackendUnavailable("gone."), BrokerUnavailable("")]
    server = Server(*away)
    insist = Patience(clock, jitter=lambda: 1.0)

    with caplog.at_level(logging.INFO):
        call = asyncio.create_task(insist(server.call, clock))
        await asyncio.sleep(0)
        await clock.advance(100)

    assert await call == "answer"
    assert server.calls == [0.0, 0.5, 1.5, 3.5]
    assert caplog.messages[0] == "cannot reach x. Trying again in 0.5 seconds…"
    assert caplog.messages[-1] == "The connection is back."


async def test_attempts_milliseconds_apart_are_not_all_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    server = Server(*[BackendUnavailable("away")] * 8)
    insist = Patience(clock, jitter=lambda: 1.0, first=0.01)

    with caplog.at_level(logging.INFO):
        call = asyncio.create_task(insist(server.call, clock))
        await asyncio.sleep(0)
        await clock.advance(100)

    assert await call == "answer"
    assert caplog.messages == [
        "away. Trying again in 0.1 seconds…",
        "away. Trying again in 0.6 seconds…",
        "away. Trying again in 1.3 seconds…",
        "The connection is back.",
    ]


async def test_intervals_stop_growing() -> None:
    clock = ManualClock()
    server = Server(*[BrokerUnavailable("away")] * 20)
    insist = Patience(clock, jitter=lambda: 1.0)

    call = asyncio.create_task(insist(server.call, clock))
    await asyncio.sleep(0)
    await clock.advance(1000)

    assert await call == "answer"
    assert server.calls[-1] - server.calls[-2] == 2.0


async def test_they_are_longer_where_they_are_counted() -> None:
    clock = ManualClock()
    server = Server(*[BrokerUnavailable("away")] * 20)
    insist = Patience(clock, jitter=lambda: 1.0, retries=20)

    call = asyncio.create_task(insist(server.call, clock))
    await asyncio.sleep(0)
    await clock.advance(1000)

    assert await call == "answer"
    assert server.calls[-1] - server.calls[-2] == 5.0


async def test_a_long_absence_is_said_twice_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    insist = Patience(clock, jitter=lambda: 1.0)
    server = Server(*[BrokerUnavailable("away")] * 1000)

    call = asyncio.create_task(insist(server.call, clock))
    await asyncio.sleep(0)
    await clock.advance(300)
    call.cancel()

    # Two as the delays grow, and one every half minute, which says that it is not the last try.
    assert 10 <= len(caplog.messages) <= 14
    assert caplog.messages[1:3] == [
        "away. Trying again in 1.0 seconds…",
        "away. Trying again every 2 seconds at least…",
    ]
    assert set(caplog.messages[2:]) == {caplog.messages[2]}
    assert len(server.calls) > 100


async def test_other_errors_are_the_callers() -> None:
    server = Server(QueueConflict("other properties"))

    with pytest.raises(QueueConflict):
        await Patience(ManualClock())(server.call, ManualClock())
