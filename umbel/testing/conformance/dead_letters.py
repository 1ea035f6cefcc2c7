"""What a broker that keeps dead letters must pass."""

from __future__ import annotations

import pytest

from umbel.model import Ack, Nack, Retention, Settlement
from umbel.protocols import Broker, DeadLetterStore, KeepsDeadLetters, Transactional
from umbel.testing.conformance.broker import MakeBroker
from umbel.testing.conformance.messages import ids, message, messages, take
from umbel.testing.conformance.transactions import nothing

__all__ = ["KEPT", "DeadLetterContract"]

KEPT = Retention(count=5)
"""What brokers under the contract are to be made with."""


def store_of(broker: Broker) -> DeadLetterStore:
    """Where the broker keeps them."""
    assert isinstance(broker, KeepsDeadLetters)
    return broker.dead_letters


class DeadLetterContract:
    """Fixtures to give: ``make_broker``, whose brokers keep :data:`KEPT`."""

    @pytest.fixture
    async def broker(self, make_broker: MakeBroker) -> Broker:
        """A broker."""
        return await make_broker()

    async def test_what_is_dropped_is_kept_with_its_reason(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        sent = message("a", body=b"\x00[[1],{},{}]")
        await broker.publish([sent])
        await broker.nack(await take(broker, 1), requeue=False, reason="weil: „nein“")

        store = store_of(await make_broker())
        [letter] = await store.latest(limit=10)

        assert (letter.queue, letter.reason, letter.attempt) == ("q", "weil: „nein“", 1)
        assert (letter.message.id, letter.message.body) == ("a", sent.body)
        assert letter.dropped_at > 0
        assert await store.load([letter.id, "unknown", "12345678"]) == [letter]
        assert await store.count() == 1

    async def test_the_latest_come_first_in_pages(self, broker: Broker) -> None:
        for name in "abc":
            await broker.publish([message(name)])
            await broker.nack(await take(broker, 1), requeue=False)

        store = store_of(broker)

        assert [each.message.id for each in await store.latest(limit=2)] == ["c", "b"]
        assert [each.message.id for each in await store.latest(limit=2, skip=2)] == ["a"]
        assert await store.latest(limit=0) == []

    async def test_what_is_dropped_from_them_is_gone(self, broker: Broker) -> None:
        await broker.publish(messages(2))
        await broker.nack(await take(broker, 2), requeue=False)
        store = store_of(broker)
        first, second = await store.latest(limit=2)

        assert await store.drop([first.id, "unknown"]) == 1

        assert await store.latest(limit=9) == [second]
        assert await store.drop([first.id]) == await store.drop([]) == 0
        assert await store.load([first.id]) == await store.load([]) == []

    async def test_only_so_many_are_kept(self, broker: Broker) -> None:
        sent = messages(8)
        await broker.publish(sent)
        await broker.nack(await take(broker, 8), requeue=False)

        assert await store_of(broker).count() == KEPT.count

    async def test_what_was_begun_can_be_dropped_too(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        taken = await take(broker, 1)
        await broker.begin(taken)

        await broker.nack(taken, requeue=False, reason="why")

        assert [each.reason for each in await store_of(broker).latest(limit=9)] == ["why"]

    async def test_a_settlement_drops_with_its_reason_too(self, broker: Broker) -> None:
        if not isinstance(broker, Transactional):
            pytest.skip("it does not commit together with a result backend")
        await broker.publish(messages(2))
        done, bad = await take(broker, 2)

        await broker.settle(
            [
                Settlement(delivery=done, verdict=Ack()),
                Settlement(delivery=bad, verdict=Nack(requeue=False, reason="why")),
            ],
            compose=nothing,
        )

        [letter] = await store_of(broker).latest(limit=9)
        assert (letter.message.id, letter.reason) == (bad.message.id, "why")
        assert ids(await broker.receive(["q"], limit=9, wait=0)) == []
