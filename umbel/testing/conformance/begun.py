"""What must hold for messages that were begun; part of the broker contract."""

from __future__ import annotations

from umbel.protocols import Broker
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import (
    MakeBroker,
    every_await,
    ids,
    message,
    messages,
    require,
    settle,
    take,
)

__all__ = ["BegunContract"]

_NO_LEASE = "leases last as long as the connection"


class BegunContract:
    """``begin``: never work again, and never forgotten."""

    async def test_what_was_begun_and_acknowledged_never_comes_back(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        await broker.publish(messages(3))
        taken = await take(broker, 3)

        assert await broker.begin(taken) == []
        assert await broker.start(taken) == await broker.start([]) == []
        assert await broker.ack(taken) == []
        await broker.close()
        await clock.advance((broker.capabilities.lease or 0) * 1.2)

        assert await (await make_broker()).receive(["q"], limit=10, wait=0) == []

    async def test_what_was_begun_and_given_back_is_work_again(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        taken = await take(broker, 1)
        await broker.begin(taken)

        assert await broker.nack(taken) == []

        [again] = await take(broker, 1)
        assert (again.message.id, again.attempt, again.begun) == ("a", 1, False)

    async def test_what_was_begun_and_dropped_does_not_come_back(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        await broker.publish(messages(1))
        taken = await take(broker, 1)
        await broker.begin(taken)

        assert await broker.nack(taken, requeue=False) == []

        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        assert await broker.receive(["q"], limit=1, wait=0) == []

    async def test_what_a_dead_holder_had_begun_comes_once_more_and_says_so(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish([message("begun"), message("not", routing_key="r")])
        begun = await take(broker, 1)
        await take(broker, 1, "r")
        await broker.begin(begun)

        await clock.advance(lease * 1.2)

        [mine] = await take(other, 1)
        assert (mine.message.id, mine.queue, mine.begun, mine.redelivered) == (
            *("begun", "q", True),
            True,
        )
        assert mine.message.body == begun[0].message.body
        assert await other.receive(["q"], limit=9, wait=0) == []
        assert [each.begun for each in await take(other, 1, "r")] == [False]
        assert await broker.ack(begun) == begun
        assert await other.ack([mine]) == []

    async def test_it_comes_again_and_again_until_somebody_settles_it(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish([message("a")])
        await broker.begin(await take(broker, 1))

        for _ in range(2):
            await clock.advance(lease * 1.2)
            [mine] = await take(await make_broker(), 1)
            assert (mine.message.id, mine.begun) == ("a", True)

        await clock.advance(lease * 0.6)
        assert await broker.receive(["q"], limit=9, wait=0) == []

    async def test_a_living_holder_keeps_what_it_has_begun(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish(messages(2))
        taken = await take(broker, 2)
        await broker.begin(taken[:1])

        for _ in range(3):
            await clock.advance(lease * 0.6)
            assert await broker.extend(taken, lease=lease) == []
            assert await other.receive(["q"], limit=9, wait=0) == []

        assert await broker.ack(taken) == []

    async def test_who_closes_leaves_what_it_has_begun_to_be_noticed_at_once(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish(messages(2))
        taken = await take(broker, 2)
        await broker.begin(taken[:1])

        await broker.close()

        begun_by_id = {each.message.id: each.begun for each in await take(other, 2)}
        assert begun_by_id == {taken[0].message.id: True, taken[1].message.id: False}

    async def test_what_was_begun_counts_as_leased(self, broker: Broker) -> None:
        require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish(messages(3))
        await broker.begin(await take(broker, 2))

        stats = (await broker.stats(["q"]))["q"]

        assert (stats.ready, stats.leased) == (1, 2)

    async def test_what_was_begun_does_not_expire_silently(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish([message("a", expires_at=clock.time() + lease / 2)])
        await broker.begin(await take(broker, 1))

        await clock.advance(lease * 1.2)

        [mine] = await take(broker, 1)
        assert (mine.message.id, mine.begun) == ("a", True)

    async def test_only_deaths_count_as_attempts(self, broker: Broker, clock: MovableClock) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish([message("a")])
        seen: list[tuple[int, bool]] = []

        for end in ("nack", "dies", "counts", "dies", "started", "delayed", "nack"):
            [mine] = await take(broker, 1)
            seen.append((mine.attempt, mine.redelivered))
            match end:
                case "dies":
                    await clock.advance(lease * 1.2)
                case "started":
                    assert await broker.start([mine]) == []
                    assert await broker.start([mine]) == []
                    await clock.advance(lease * 1.2)
                case "delayed":
                    await broker.nack([mine], delay=lease / 2)
                    await clock.advance(lease * 0.6)
                case _:
                    await broker.nack([mine], counts=end == "counts")

        # Of the deaths of those who had not started it, only the first counts.
        assert seen == [
            (1, False),
            (1, True),
            (2, True),
            (3, True),
            (3, True),
            (4, True),
            (4, True),
        ]

    async def test_what_was_started_and_is_lost_is_another_ones(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish(messages(1))
        await take(broker, 1)
        await clock.advance(lease * 1.2)
        [stale] = await take(broker, 1)
        await clock.advance(lease * 1.2)
        [mine] = await take(await make_broker(), 1)

        assert await broker.start([stale]) == [stale]

        await clock.advance(lease * 1.2)
        assert [each.attempt for each in await take(broker, 1)] == [mine.attempt]

    async def test_a_cancelled_begin_has_happened_or_not(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        await broker.publish([message("a"), message("b")])
        held = await take(broker, 2)

        async def check() -> None:
            await clock.advance(lease * 1.2)
            found = await take(broker, 2)
            assert sorted(ids(found)) == ["a", "b"]
            assert len({each.begun for each in found}) == 1
            await broker.nack(found)
            held[:] = await take(broker, 2)

        await every_await(lambda: settle(broker, "begin", held), check)
