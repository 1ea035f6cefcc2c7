"""What a broker that commits together with a result backend must pass."""

from __future__ import annotations

import pytest

from umbel.clock import ManualClock
from umbel.model import Ack, Arrival, Composed, FullChord, Nack, Settlement
from umbel.protocols import Broker, ResultBackend, Transactional
from umbel.testing.conformance.backend import MakeBackend, record
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import (
    MakeBroker,
    every_await,
    ids,
    message,
    messages,
    require,
    take,
)

__all__ = ["TransactionContract"]


def compose(_: Arrival, chord: FullChord) -> Composed:
    """The body of a chord, as the contract knows it: its members' results, in order."""
    results = b",".join(each.id.encode() for each in chord.records)
    body = message(f"body-of-{chord.id}", body=results, routing_key="bodies")
    return Composed(publish=(body,))


def nothing(_: Arrival, __: FullChord) -> Composed:
    """For settlements without chords."""
    raise AssertionError


class TransactionContract:
    """Fixtures to give: ``make_broker`` and ``make_backend`` on one store; perhaps ``clock``."""

    @pytest.fixture
    def clock(self) -> MovableClock:
        """Moved by hand; a driver of a real server overrides it."""
        return ManualClock()

    @pytest.fixture
    async def broker(self, make_broker: MakeBroker) -> Broker:
        """A broker."""
        return await make_broker()

    @pytest.fixture
    async def backend(self, make_backend: MakeBackend) -> ResultBackend:
        """A result backend on the same store."""
        return await make_backend()

    @pytest.fixture
    def together(self, broker: Broker, backend: ResultBackend) -> Transactional:
        """The broker as what it claims to be."""
        assert isinstance(broker, Transactional)
        assert broker.commits_with(backend)
        return broker

    async def test_a_settlement_publishes_stores_and_acknowledges(
        self, broker: Broker, backend: ResultBackend, together: Transactional, clock: MovableClock
    ) -> None:
        await broker.publish(messages(2))
        first, second = await take(broker, 2)

        lost = await together.settle(
            [
                Settlement(
                    delivery=first,
                    verdict=Ack(),
                    record=record("done"),
                    publish=(message("next", routing_key="follow"),),
                ),
                Settlement(delivery=second, verdict=Nack()),
                Settlement(delivery=None, verdict=Ack(), record=record("early")),
            ],
            compose=nothing,
        )

        assert lost == []
        assert set(await backend.load(["done", "early"])) == {"done", "early"}
        assert ids(await take(broker, 1, "follow")) == ["next"]
        assert ids(await take(broker, 1)) == [second.message.id]
        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        assert first.message.id not in ids(await broker.receive(["q"], limit=9, wait=0))

    async def test_a_settlement_may_give_back_later_or_drop(
        self, broker: Broker, together: Transactional, clock: MovableClock
    ) -> None:
        await broker.publish([message("later"), message("never")])
        first, second = sorted(await take(broker, 2), key=lambda each: each.message.id)

        await together.settle(
            [
                Settlement(delivery=first, verdict=Nack(delay=1.0)),
                Settlement(delivery=second, verdict=Nack(requeue=False)),
            ],
            compose=nothing,
        )

        assert await broker.receive(["q"], limit=9, wait=0) == []
        await clock.advance(1.1)
        assert ids(await take(broker, 1)) == ["later"]
        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        assert ids(await broker.receive(["q"], limit=9, wait=0)) == ["later"]

    async def test_a_settlement_whose_lease_was_lost_has_no_effect_at_all(
        self, broker: Broker, backend: ResultBackend, together: Transactional, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, "leases last as long as the connection")
        await broker.publish([message("stale")])
        [stale] = await take(broker, 1)
        await clock.advance(lease * 1.2)
        [mine] = await take(broker, 1)
        await broker.publish([message("held")])
        [held] = await take(broker, 1)
        arrival = Arrival(chord_id="c", index=0, size=1, record=record("m"), body=b"")

        lost = await together.settle(
            [
                Settlement(
                    delivery=stale,
                    verdict=Ack(),
                    record=record("lost"),
                    publish=(message("lost"),),
                    arrivals=(arrival,),
                ),
                Settlement(delivery=held, verdict=Ack(), record=record("kept")),
            ],
            compose=compose,
        )

        assert lost == [stale]
        assert set(await backend.load(["lost", "kept"])) == {"kept"}
        assert await broker.receive(["q", "bodies"], limit=9, wait=0) == []
        assert await broker.ack([mine]) == []
        assert await broker.ack([held]) == [held]

    async def test_the_last_arrival_publishes_the_body_of_its_chord_once(
        self, broker: Broker, backend: ResultBackend, together: Transactional
    ) -> None:
        arrivals = [
            Arrival(chord_id="c", index=index, size=3, record=record(f"m{index}"), body=b"body")
            for index in range(3)
        ]
        settlements = [
            Settlement(delivery=None, verdict=Ack(), record=each.record, arrivals=(each,))
            for each in arrivals
        ]

        await together.settle(settlements[1:2], compose=compose)
        assert await broker.receive(["bodies"], limit=9, wait=0) == []
        await together.settle([settlements[2], settlements[0]], compose=compose)
        await together.settle(settlements, compose=compose)

        [body] = await take(broker, 1, "bodies")
        assert (body.message.id, body.message.body) == ("body-of-c", b"m0,m1,m2")
        assert await broker.receive(["bodies"], limit=9, wait=0) == []
        assert await backend.arrive(arrivals) == []

    async def test_a_cancelled_settlement_has_happened_whole_or_not_at_all(
        self, broker: Broker, backend: ResultBackend, together: Transactional, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, "leases last as long as the connection")
        settlements: list[Settlement] = []

        async def prepare() -> None:
            await broker.publish([message("a")])
            [held] = await take(broker, 1)
            follow = (message("next", routing_key="follow"),)
            settlements[:] = [
                Settlement(delivery=held, verdict=Ack(), record=record("a"), publish=follow)
            ]

        async def check() -> None:
            await clock.advance(lease * 1.2)
            followed = await broker.receive(["follow"], limit=9, wait=0)
            undone = await broker.receive(["q"], limit=9, wait=0)
            # Last: what was cancelled may be happening still, and only the broker's next call is
            # sure to come after it.
            stored = bool(await backend.load(["a"]))
            found = stored, len(followed), len(undone)
            assert found in ((True, 1, 0), (False, 0, 1))
            await backend.forget(["a"])
            await broker.ack([*followed, *undone])
            await prepare()

        await prepare()
        await every_await(lambda: together.settle(settlements, compose=nothing), check)
