"""What a broker must do with times and priorities; part of the broker contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from umbel.protocols import Broker
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import PATIENCE, ids, message, require, take

__all__ = ["TimingContract"]

_NO_DELAY = "the broker does not delay; the worker holds what is not due"
_NO_PRIORITY = "the broker knows no priorities"


class TimingContract:
    """``not_before``, ``expires_at``, ``priority``."""

    async def test_a_message_is_hidden_until_it_is_due_and_not_longer(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        require(broker.capabilities.delay, _NO_DELAY)
        now = clock.time()
        await broker.publish([message("late", not_before=now + 1.0), message("now")])

        [first] = await take(broker, 1)
        assert first.message.id == "now"
        await clock.advance(0.5)
        assert await broker.receive(["q"], limit=1, wait=0) == []
        await clock.advance(0.6)

        [second] = await take(broker, 1)
        assert (second.message.id, second.attempt) == ("late", 1)

    async def test_a_moment_in_the_past_is_now(self, broker: Broker, clock: MovableClock) -> None:
        await broker.publish([message("a", not_before=clock.time() - 100)])

        assert ids(await take(broker, 1)) == ["a"]

    async def test_a_waiting_receive_gets_what_becomes_due(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        require(broker.capabilities.delay, _NO_DELAY)
        await broker.publish([message("a", not_before=clock.time() + 0.5)])
        receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=PATIENCE))
        await asyncio.sleep(0.05)

        await clock.advance(0.6)

        async with asyncio.timeout(30):
            assert ids(await receiving) == ["a"]

    async def test_whoever_begins_to_wait_as_a_message_is_put_off_wakes_when_it_is_due(
        self, broker: Broker, make_broker: Callable[[], Awaitable[Broker]], clock: MovableClock
    ) -> None:
        require(broker.capabilities.delay, _NO_DELAY)
        producer = await make_broker()
        # Both are connected.
        await producer.publish([message("first")])
        await broker.ack(await take(broker, 1))
        began = clock.monotonic()
        for number in range(40):
            due = clock.time() + 0.02
            receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=PATIENCE))
            # Between any two steps of the one that waits.
            for _ in range(number % 6):
                await asyncio.sleep(0)
            await producer.publish([message(f"{number}", not_before=due)])
            await clock.advance(0.03)
            received = await receiving
            assert ids(received) == [f"{number}"]
            await broker.ack(received)
        # One that is missed comes at the next look: a few are forgiven to a slow machine.
        assert clock.monotonic() - began < 6

    async def test_a_far_moment_does_not_disturb(self, broker: Broker, clock: MovableClock) -> None:
        require(broker.capabilities.delay, _NO_DELAY)
        far = [message(not_before=moment) for moment in (clock.time() + 1e9, 253_402_300_799.0)]
        await broker.publish([*far, message("now")])

        assert ids(await broker.receive(["q"], limit=10, wait=PATIENCE)) == ["now"]

    async def test_what_has_expired_is_dropped(self, broker: Broker, clock: MovableClock) -> None:
        now = clock.time()
        kept = message("kept", expires_at=now + 1000)
        await broker.publish([message(expires_at=now + 0.5), kept, message(expires_at=now - 1)])

        await clock.advance(0.6)

        assert ids(await take(broker, 1)) == ["kept"]
        assert await broker.receive(["q"], limit=1, wait=0) == []

    async def test_an_expiry_that_the_headers_tell_is_the_workers_business(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        # The worker records that the task expired; a message dropped here would leave whoever
        # waits for the result waiting for ever.
        headers = {"id": "a", "task": "contract.task", "expires": "2020-01-01T00:00:00+00:00"}
        encoded = msgspec.json.encode(headers)
        await broker.publish([message("a", headers=encoded, expires_at=clock.time() - 1)])

        assert ids(await take(broker, 1)) == ["a"]

    async def test_the_first_priority_comes_first(self, broker: Broker) -> None:
        first = require(broker.capabilities.priority, _NO_PRIORITY)
        for priority in (3, 9, 0, 6):
            await broker.publish([message(f"{priority}", priority=priority)])

        got = [ids(await take(broker, 1))[0] for _ in range(4)]

        assert got == (["9", "6", "3", "0"] if first == "high-first" else ["0", "3", "6", "9"])

    async def test_order_holds_within_one_priority(self, broker: Broker) -> None:
        require(broker.capabilities.priority, _NO_PRIORITY)
        require(broker.capabilities.ordered, "the broker promises no order")
        sent = [message(priority=number % 2 * 9) for number in range(20)]
        await broker.publish(sent)

        got = await take(broker, 20)

        for priority in (0, 9):
            expected = [each.id for each in sent if each.priority == priority]
            assert [d.message.id for d in got if d.message.priority == priority] == expected

    async def test_the_first_priority_comes_first_also_when_the_other_came_due_earlier(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        require(broker.capabilities.delay, _NO_DELAY)
        first = require(broker.capabilities.priority, _NO_PRIORITY)
        urgent, other = (9, 0) if first == "high-first" else (0, 9)
        now = clock.time()
        await broker.publish(
            [
                message("other", priority=other, not_before=now + 0.2),
                message("urgent", priority=urgent, not_before=now + 0.4),
            ]
        )

        await clock.advance(0.6)

        got = [ids(await take(broker, 1))[0] for _ in range(2)]
        assert got == ["urgent", "other"]

    @pytest.mark.parametrize("priority", [-5, 255, 10**9])
    async def test_an_odd_priority_loses_no_message(self, broker: Broker, priority: int) -> None:
        await broker.publish([message("odd", priority=priority), message("even", priority=0)])

        assert sorted(ids(await take(broker, 2))) == ["even", "odd"]
