"""What must hold when several share a broker, or a call ends early; part of the contract."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from umbel.exceptions import BrokerUnavailable
from umbel.model import Delivery
from umbel.protocols import Broker
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import (
    PATIENCE,
    MakeBroker,
    every_await,
    ids,
    message,
    messages,
    recover,
    require,
    settle,
    take,
)

__all__ = ["SharingContract"]

Cut = Callable[[Broker], Awaitable[None]]


class SharingContract:
    """Several consumers, cancelled calls, cut connections."""

    @pytest.fixture
    def cut(self) -> Cut | None:
        """Cuts a broker's connection under it; None when there is none that could be cut."""
        return None

    async def test_two_consumers_never_hold_the_same_message(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        consumers = [broker, await make_broker(), await make_broker()]
        sent = messages(300)
        for start in range(0, 300, 100):
            await broker.publish(sent[start : start + 100])
        seen: list[Delivery] = []

        async def consume(consumer: Broker) -> None:
            while len(seen) < 300:
                seen.extend(await consumer.receive(["q"], limit=7, wait=0))

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for consumer in consumers:
                group.create_task(consume(consumer))

        assert sorted(ids(seen)) == sorted(ids(sent))
        assert len({delivery.tag for delivery in seen}) == 300

    async def test_a_hundred_concurrent_receives_share_without_loss(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        receiving = [
            asyncio.create_task(broker.receive(["q"], limit=1, wait=PATIENCE)) for _ in range(100)
        ]
        await clock.advance(0.05)
        sent = messages(100)

        await broker.publish(sent)

        async with asyncio.timeout(PATIENCE):
            got = list(itertools.chain.from_iterable(await asyncio.gather(*receiving)))
        assert sorted(ids(got)) == sorted(ids(sent))

    async def test_a_cancelled_publish_has_happened_or_not(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        numbers = itertools.count()
        batch: list[str] = []

        def begin() -> Coroutine[Any, Any, object]:
            batch[:] = [f"{next(numbers)}" for _ in range(2)]
            return broker.publish([message(name) for name in batch])

        async def check() -> None:
            await broker.publish([message("last")])
            found = await take(broker, 1)
            while "last" not in ids(found):
                found += await take(broker, 1)
            found += await broker.receive(["q"], limit=10, wait=0)
            await broker.ack(found)
            assert sorted(ids(found)) in (sorted([*batch, "last"]), ["last"])

        await every_await(begin, check)

    async def test_a_cancelled_receive_loses_nothing(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        await broker.publish([message(name) for name in "abc"])
        received: list[Delivery] = []

        async def receive() -> None:
            received[:] = await broker.receive(["q"], limit=2, wait=0)

        async def check() -> None:
            await broker.nack(received)
            received.clear()
            found = await recover(broker, clock, 3)
            assert sorted(ids(found)) == ["a", "b", "c"]
            await broker.nack(found)

        await every_await(receive, check)

    async def test_a_receive_that_is_cancelled_while_it_waits_loses_nothing(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        other = await make_broker()
        for turns in range(12):
            receiving = asyncio.create_task(broker.receive(["q"], limit=5, wait=PATIENCE))
            await asyncio.sleep(0.002)
            publishing = asyncio.create_task(other.publish([message("a")]))
            for _ in range(turns):
                await asyncio.sleep(0)
            receiving.cancel()
            got, _ = await asyncio.gather(receiving, publishing, return_exceptions=True)
            found = got if isinstance(got, list) else await recover(other, clock, 1)

            assert ids(found) == ["a"]
            await other.ack(found)

    @pytest.mark.parametrize("verb", ["ack", "nack", "drop", "extend"])
    async def test_a_cancelled_settlement_has_happened_or_not(
        self, broker: Broker, clock: MovableClock, verb: str
    ) -> None:
        held: list[Delivery] = []
        await broker.publish([message("a"), message("b")])
        held[:] = await take(broker, 2)

        async def check() -> None:
            lease = broker.capabilities.lease
            if lease is not None:
                await clock.advance(lease * 1.2)
            else:
                await broker.nack(held)
            found = await broker.receive(["q"], limit=10, wait=0)
            assert sorted(ids(found)) in (["a", "b"], [])
            if verb == "extend":
                assert sorted(ids(found)) == ["a", "b"]
            await broker.ack(found)
            await broker.publish([message("a"), message("b")])
            held[:] = await take(broker, 2)

        await every_await(lambda: settle(broker, verb, held), check)

    async def test_a_cut_connection_loses_nothing(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock, cut: Cut | None
    ) -> None:
        cut_now = require(cut, "there is no connection that could be cut")
        for verb in ("publish", "receive", "ack"):
            await broker.publish([message(verb)])
            running: Awaitable[object]
            match verb:
                case "publish":
                    running = broker.publish([message("second")])
                case "receive":
                    running = broker.receive(["q"], limit=10, wait=0)
                case _:
                    running = broker.ack(await take(broker, 1))
            results = await asyncio.gather(running, cut_now(broker), return_exceptions=True)

            failure = results[0]
            assert isinstance(failure, BrokerUnavailable) or not isinstance(failure, Exception)
            if verb != "ack":
                other = await make_broker()
                held = failure if isinstance(failure, list) else []
                found = ids(held) or ids(await recover(other, clock, 1))
                assert verb in found
                await other.purge(["q"])
