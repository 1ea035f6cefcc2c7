"""What a broker must do with queues and exchanges; part of the broker contract."""

from __future__ import annotations

import pytest

from umbel.model import Binding, Exchange, Queue
from umbel.protocols import Broker
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import MakeBroker, ids, message, messages, take

__all__ = ["TopologyContract"]


class TopologyContract:
    """Declaring, binding, purging, counting."""

    async def test_queues_can_be_declared_again(self, broker: Broker) -> None:
        queues = [Queue("q"), Queue("mail", Exchange("mail"), "mail")]
        await broker.declare(queues)
        sent = messages(1)
        await broker.publish(sent)

        await broker.declare(queues)

        assert ids(await take(broker, 1)) == ids(sent)

    async def test_another_instance_finds_what_was_declared(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        other = await make_broker()
        await broker.declare([Queue("mail", Exchange("post"), "letter")])

        await other.publish([message("a", exchange="post", routing_key="letter")])

        [delivery] = await take(broker, 1, "mail")
        assert (delivery.queue, delivery.message.id) == ("mail", "a")
        assert (delivery.message.exchange, delivery.message.routing_key) == ("post", "letter")

    async def test_a_direct_exchange_goes_by_the_whole_key(self, broker: Broker) -> None:
        exchange = Exchange("post")
        more = (Binding(exchange, "parcel"),)
        await broker.declare(
            [Queue("a", exchange, "letter", bindings=more), Queue("b", exchange, "letter")]
        )

        for key in ("letter", "parcel"):
            await broker.publish([message(key, exchange="post", routing_key=key)])

        assert sorted(ids(await take(broker, 2, "a"))) == ["letter", "parcel"]
        assert ids(await take(broker, 1, "b")) == ["letter"]

    @pytest.mark.parametrize(
        ("pattern", "key", "reaches"),
        [
            ("image.*", "image.resize", True),
            ("image.*", "image", False),
            ("image.*", "image.resize.small", False),
            ("image.#", "image.resize.small", True),
            ("*.resize", "image.resize", True),
            ("#", "anything.at.all", True),
        ],
    )
    async def test_a_topic_exchange_goes_by_patterns(
        self, broker: Broker, pattern: str, key: str, reaches: bool
    ) -> None:
        exchange = Exchange("topics", "topic")
        await broker.declare([Queue("some", exchange, pattern), Queue("all", exchange, "#")])

        await broker.publish([message("a", exchange="topics", routing_key=key)])

        assert ids(await take(broker, 1, "all")) == ["a"]
        found = await broker.receive(["some"], limit=1, wait=0)
        assert ids(found) == (["a"] if reaches else [])

    async def test_purge_drops_what_nobody_holds(self, broker: Broker, clock: MovableClock) -> None:
        await broker.publish(messages(3))
        [held] = await take(broker, 1)
        delayed = 1 if broker.capabilities.delay and not broker.capabilities.delayed_apart else 0
        if delayed:
            await broker.publish([message(not_before=clock.time() + 1000)])
        await broker.publish(messages(1, routing_key="other"))

        assert await broker.purge(["q"]) == 2 + delayed

        assert await broker.receive(["q"], limit=10, wait=0) == []
        assert await broker.ack([held]) == []
        assert len(await take(broker, 1, "other")) == 1

    async def test_stats_count_what_is_there(self, broker: Broker, clock: MovableClock) -> None:
        await broker.publish(messages(5))
        taken = await take(broker, 2)
        delayed = 1 if broker.capabilities.delay and not broker.capabilities.delayed_apart else 0
        if delayed:
            await broker.publish([message(not_before=clock.time() + 1000)])

        stats = await broker.stats(["q", "empty"])

        assert (stats["q"].ready, stats["q"].leased) == (3, 2)
        assert stats["q"].delayed == delayed
        assert (stats["empty"].ready, stats["empty"].leased) == (0, 0)
        await broker.ack(taken)
        assert (await broker.stats(["q"]))["q"].leased == 0
