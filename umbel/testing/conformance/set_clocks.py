"""What must hold when somebody sets the machine's clock; part of the broker contract, for drivers
whose clients go by that machine's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from umbel.clock import ManualClock
from umbel.protocols import Broker, KeepsSchedules
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import MakeBroker, ids, message, messages, require, take

__all__ = ["SetClockContract"]

_NO_LEASE = "leases last as long as the connection"


def set_by(clock: MovableClock, days: int) -> None:
    """Somebody sets the clock forward, or back; no time passes."""
    assert isinstance(clock, ManualClock)
    clock.set(clock.now() + timedelta(days=days))


class SetClockContract:
    """Leases know nothing of it; moments of messages do."""

    @pytest.fixture(params=[400, -400])
    def days(self, request: pytest.FixtureRequest, clock: MovableClock) -> int:
        """By how much; skips the test where only a server could say when leases end."""
        if not isinstance(clock, ManualClock):
            pytest.skip("a server has a clock of its own")
        days: int = request.param
        return days

    async def test_a_clock_that_is_set_ends_nobodys_lease(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock, days: int
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish(messages(4))
        taken = await take(broker, 4)
        await broker.begin(taken[:1])
        await broker.start(taken[1:2])

        set_by(clock, days)
        assert await other.receive(["q"], limit=9, wait=0) == []
        await clock.advance(lease * 0.6)
        assert await broker.extend(taken, lease=lease) == []
        set_by(clock, days)
        await clock.advance(lease * 0.6)

        assert await other.receive(["q"], limit=9, wait=0) == []
        stats = (await other.stats(["q"]))["q"]
        assert (stats.ready, stats.leased, stats.delayed) == (0, 4, 0)
        assert await other.purge(["q"]) == 0
        assert await broker.ack(taken) == []

    async def test_what_a_dead_holder_had_comes_back_as_soon_as_ever(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock, days: int
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish([message("a")])
        [stale] = await take(broker, 1)

        set_by(clock, days)
        await clock.advance(lease * 0.9)
        assert await other.receive(["q"], limit=9, wait=0) == []
        await clock.advance(lease * 0.2)

        assert (await other.stats(["q"]))["q"].ready == 1
        [mine] = await take(other, 1)
        assert (mine.message.id, mine.redelivered) == ("a", True)
        assert await broker.ack([stale]) == [stale]

    async def test_a_moment_is_a_moment_of_the_clock_that_was_set(
        self, broker: Broker, clock: MovableClock, days: int
    ) -> None:
        require(broker.capabilities.delay, "the broker does not delay")
        await broker.publish([message("a", not_before=clock.time() + 1800)])

        set_by(clock, days)

        came = await broker.receive(["q"], limit=9, wait=0)
        assert ids(came) == (["a"] if days > 0 else [])

    async def test_who_leads_goes_on_to_lead_and_is_replaced_when_dead(
        self, make_broker: MakeBroker, clock: MovableClock, days: int
    ) -> None:
        one, two = await make_broker(), await make_broker()
        if not (isinstance(one, KeepsSchedules) and isinstance(two, KeepsSchedules)):
            pytest.skip("it keeps no schedules")
        first = await one.schedules.lead("one", lease=30)

        set_by(clock, days)
        await clock.advance(20)
        assert (await two.schedules.lead("two", lease=30)).leader == "one"
        assert await one.schedules.lead("one", lease=30) == first
        set_by(clock, days)
        await clock.advance(31)

        second = await two.schedules.lead("two", lease=30)
        assert second.leader == "two"
        assert second.term > first.term
