"""Settling what was handed out, wherever RabbitMQ keeps it by now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from umbel.drivers.rabbitmq.begun import Begun
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.consuming import Consumer
from umbel.drivers.rabbitmq.deaths import Deaths
from umbel.drivers.rabbitmq.delays import Delays
from umbel.drivers.rabbitmq.holding import Holding
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.salvage import Salvage
from umbel.exceptions import BatchError
from umbel.model import Delivery
from umbel.protocols import Clock

__all__ = ["Loans"]

_SHORTEST_DELAY = 1.0
"""Seconds; what RabbitMQ delays by is a whole number of them."""
_LOOKS = 0.25
"""Seconds between two looks at whether RabbitMQ takes messages at all."""


class Loans:
    """Four kinds: what RabbitMQ holds for us unacknowledged, what was begun (and is noted), what
    was held for too long for that, and what others had begun that are dead."""

    def __init__(
        self,
        outgoing: Client,
        publisher: Publisher,
        delays: Delays,
        clock: Clock,
        *,
        consumer: Consumer,
        begun: Begun,
        holding: Holding,
        salvage: Salvage,
        deaths: Deaths,
    ) -> None:
        self._outgoing = outgoing
        self._publisher = publisher
        self._delays = delays
        self._clock = clock
        self._consumer = consumer
        self._begun = begun
        self._holding = holding
        self._salvage = salvage
        self._deaths = deaths

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that these run, and acknowledge them; returns those given back already.

        A RabbitMQ that takes no messages at the moment is short of room: it must get rid of these
        all the same, and they are noted later.
        """
        fresh = self._unacknowledged(deliveries)
        lost = self._consumer.held(fresh)
        ours = fresh
        if lost:
            gone = {delivery.tag for delivery in lost}
            ours = [delivery for delivery in fresh if delivery.tag not in gone]
        if not ours:
            return lost
        self._begun.expect(ours)
        begun = False
        try:
            if self._outgoing.blocked is None:
                await self._note(ours)
            lost_meanwhile = self._consumer.ack(ours)
            begun = True
        finally:
            if not begun:
                self._begun.strike(ours)
        self._begun.strike(lost_meanwhile)
        return lost + lost_meanwhile

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Let it count if what may have killed its holder kills us; returns those given back
        already.

        While RabbitMQ takes no messages it does not count.
        """
        fresh = self._unacknowledged(deliveries)
        lost = self._consumer.held(fresh)
        gone = {delivery.tag for delivery in lost}
        ours = [each for each in fresh if each.tag not in gone]
        if self._outgoing.blocked is not None:
            return lost
        suspects = [(each, deaths) for each in ours if (deaths := self._consumer.deaths(each))]
        if not suspects:
            return lost
        await self._deaths.start(suspects)
        # The connection that they came over may have been lost meanwhile.
        return lost + self._consumer.held(ours)

    async def close(self) -> None:
        """Give back in order what would count otherwise.

        Raises:
            BrokerUnavailable: No connection; it counts.
        """
        await self._deaths.close()

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget these for good; returns those given back already."""
        lost = self._consumer.ack(await self._strike(deliveries))
        self._settled(deliveries, lost)
        return lost

    async def nack(
        self, deliveries: Sequence[Delivery], *, requeue: bool, delay: float, counts: bool
    ) -> list[Delivery]:
        """Give these back, or drop them; returns those given back already.

        What shall come back in a second or later waits in RabbitMQ, as a new message; what shall
        come back sooner waits here, unacknowledged; and what shall come back at once does, and its
        death is counted beside it.
        """
        due = self._clock.time() + delay
        if requeue:
            tags = {each.tag for each in self._unacknowledged(deliveries)}
            apart = [each for each in deliveries if each.tag not in tags]
            await self._publish_again(apart, due, counts=counts)
        held = await self._strike(deliveries)
        if not requeue:
            lost = self._consumer.nack(held, requeue=False)
            self._settled(held, lost)
            return lost
        if delay <= 0 and not counts:
            self._deaths.give_back(held)
            return self._consumer.nack(held, requeue=True)
        lost = self._consumer.held(held)
        gone = {delivery.tag for delivery in lost}
        ours = [delivery for delivery in held if delivery.tag not in gone]
        if delay < _SHORTEST_DELAY and not counts:
            self._deaths.give_back(ours)
            return lost + self._consumer.park(ours, delay)
        if delay <= 0 and self._deaths.are_counted:
            died = [(each, max(1, self._consumer.deaths(each))) for each in ours]
            await self._deaths.start(died)
            self._deaths.leave(ours)
            return lost + self._consumer.nack(ours, requeue=True)
        # What cannot be read cannot be published again as it was.
        legible = [delivery for delivery in ours if delivery.defect is None]
        parked = [delivery for delivery in ours if delivery.defect is not None]
        starts = self._deaths.starts(legible)
        try:
            await self._publish_again(legible, due, counts=counts)
        except BatchError as exc:
            parked += [legible[index] for index in exc.errors]
            legible = [each for index, each in enumerate(legible) if index not in exc.errors]
        # Only now: whoever dies in between leaves the message twice, not nowhere.
        lost += self._consumer.ack(legible)
        self._deaths.end(legible, starts)
        self._deaths.give_back(parked)
        return lost + self._consumer.park(parked, delay)

    def lost(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that were given back already."""
        return self._consumer.held(self._unacknowledged(deliveries))

    def _unacknowledged(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that RabbitMQ holds for us: the others are noted elsewhere, and acknowledged."""
        # A worker asks about all it has at every turn: no call each.
        begun, holding = self._begun.tags, self._holding.tags
        salvage = self._salvage.tags
        return [
            each
            for each in deliveries
            if (tag := each.tag) not in begun and tag not in holding and tag not in salvage
        ]

    def _settled(self, deliveries: Sequence[Delivery], lost: Sequence[Delivery]) -> None:
        """Whoever has those that were lost is counted as before."""
        gone = {delivery.tag for delivery in lost}
        ours = [each for each in deliveries if each.tag not in gone] if gone else deliveries
        self._deaths.end(ours, self._deaths.starts(ours))

    async def _strike(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Settle what is noted; returns the rest, which RabbitMQ holds for us unacknowledged."""
        noted = self._begun.tags
        begun = [delivery for delivery in deliveries if delivery.tag in noted]
        self._begun.strike(begun)
        if len(begun) == len(deliveries):
            return ()
        held_long = [delivery for delivery in deliveries if delivery.tag in self._holding.tags]
        self._holding.strike(held_long)
        salvaged = [delivery for delivery in deliveries if delivery.tag in self._salvage.tags]
        if salvaged:
            await self._salvage.settle(salvaged)
        tags = {delivery.tag for delivery in (*begun, *held_long, *salvaged)}
        return [each for each in deliveries if each.tag not in tags] if tags else deliveries

    async def _note(self, deliveries: Sequence[Delivery]) -> None:
        noting = asyncio.create_task(self._begun.note(deliveries))
        try:
            while not (await asyncio.wait([noting], timeout=_LOOKS))[0]:
                if self._outgoing.blocked is not None:
                    return
            noting.result()
        finally:
            if not noting.done():
                noting.cancel()
                await asyncio.wait([noting])

    async def _publish_again(
        self, deliveries: Sequence[Delivery], due: float, *, counts: bool
    ) -> None:
        if deliveries:
            messages = [
                await self._delays.again(
                    each.message,
                    each.queue,
                    due,
                    self._deaths.deaths_with(each) if counts else each.attempt - 1,
                )
                for each in deliveries
            ]
            await self._publisher.publish(messages)
