"""Messages out of RabbitMQ: pushed by it into windows, handed out from there.

RabbitMQ pushes as many messages as a consumer's prefetch count allows without an
acknowledgement. That window is as large as what the caller asks for; when the caller holds all
of it and asks for more, a new consumer with a new window takes over.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count

from pamqp import commands
from pamqp.base import Frame

from umbel.drivers.rabbitmq import contents
from umbel.drivers.rabbitmq.bell import Bell
from umbel.drivers.rabbitmq.channel import (
    Arrived,
    Channel,
    ChannelClosed,
    LinkLost,
    Listener,
)
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.deaths import Deaths
from umbel.drivers.rabbitmq.ledger import Ledger
from umbel.drivers.rabbitmq.marks import is_marked
from umbel.drivers.rabbitmq.marks import read as read_marks
from umbel.drivers.rabbitmq.methods import Consume
from umbel.drivers.rabbitmq.parking import Parking
from umbel.drivers.rabbitmq.salvage import Salvage
from umbel.drivers.rabbitmq.topology import Topology
from umbel.drivers.rabbitmq.windows import Look, Subscription, Window, delivery_of
from umbel.model import Delivery
from umbel.protocols import Clock

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)

_LOSSES_BORNE = 3
"""Connections or channels that may break under one receive before it fails."""
_LARGEST_WINDOW = 0xFFFF
_LONGEST_PARKED = 60.0
"""Seconds that a message waits here that came before it was due."""


class Consumer:
    """Takes messages from queues."""

    def __init__(
        self, client: Client, topology: Topology, clock: Clock, salvage: Salvage, deaths: Deaths
    ) -> None:
        self._client = client
        self._topology = topology
        self._clock = clock
        self._name = secrets.token_hex(6)
        self._tags = count(1)
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self._window_by_tag: dict[str, Window] = {}
        self._ledger = Ledger(self._name)
        self.deaths = self._ledger.deaths
        self._bell = Bell()
        self._parking = Parking(self._bell.ring)
        self._salvage = salvage
        salvage.listen(self._bell.ring)
        self._deaths = deaths
        self._receiving = 0
        self._has_abandoned_look = False
        self._closing = False

    def permit(self) -> None:
        """Let receives work, after :meth:`close`."""
        self._closing = False

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Up to ``limit`` messages, those of the first queue first."""
        deadline = self._clock.monotonic() + wait
        losses = 0
        self._receiving += 1
        try:
            while not self._closing:
                try:
                    taken = await self._attempt(queues, limit, looking=wait <= 0)
                except (LinkLost, ChannelClosed) as exc:
                    losses += 1
                    if losses > _LOSSES_BORNE:
                        raise self._client.lost(exc) from exc
                    continue
                now = self._clock.monotonic()
                if taken or now >= deadline:
                    return taken
                await self._bell.wait(deadline - now)
        except asyncio.CancelledError:
            # Who has gone may not come back: others are to have what would arrive for them.
            if self._receiving == 1:
                self._stop_consuming()
            raise
        finally:
            self._receiving -= 1
        return []

    async def _attempt(self, queues: Sequence[str], limit: int, *, looking: bool) -> list[Delivery]:
        if looking:
            return await self._look(queues, limit)
        while True:
            changed = await self._subscribe(queues, limit)
            taken = self._take(queues, limit)
            # While a window was opened, others may have used it up.
            if taken or not changed:
                return taken

    def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Acknowledge; returns those that were not ours any more."""
        numbers, lost = self._ledger.release(deliveries)
        self._settle(numbers, contents.ack)
        return lost

    def nack(self, deliveries: Sequence[Delivery], *, requeue: bool) -> list[Delivery]:
        """Give back or drop; returns those that were not ours any more."""
        numbers, lost = self._ledger.release(deliveries)
        self._settle(numbers, contents.requeue if requeue else contents.drop)
        return lost

    def _settle(self, numbers: Sequence[int], frame: contents.SettlingFrame) -> None:
        """Say it of what is struck out already."""
        channel = self._channel
        if numbers and channel is not None:
            channel.write(contents.settled(channel.number, numbers, self._ledger.oldest, frame))

    def park(self, deliveries: Sequence[Delivery], delay: float) -> list[Delivery]:
        """Hand out again in ``delay`` seconds; returns those that were not ours any more.

        RabbitMQ goes on believing that they are held, and gives them back when we are gone.
        """
        lost: list[Delivery] = []
        for delivery in deliveries:
            again = self._ledger.turn(delivery)
            if again is None:
                lost.append(delivery)
            else:
                self._parking.add(again, delay)
        return lost

    def latest(self) -> tuple[str, int]:
        """What came last: for :meth:`held_since`."""
        return self._ledger.latest

    def held_since(self, mark: tuple[str, int]) -> list[Delivery]:
        """What callers have had since then, and longer; what waits here so long is given back."""
        prefix, number = mark
        ledger = self._ledger
        if prefix != ledger.prefix:
            return []
        for subscription in self._subscriptions.values():
            self._return(subscription.leave_out(number))
        return [each for tag, each in ledger.handed_out.items() if tag <= number]

    def rest(self) -> None:
        """Give back what waits here, unless somebody receives."""
        if self._receiving == 0 and self._subscriptions:
            self._stop_consuming()

    def held(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are not ours any more."""
        return self._ledger.lost(deliveries)

    def counts(self, queue: str) -> tuple[int, int, int]:
        """How many messages of a queue wait here, how many callers have, and how many are not
        due yet."""
        subscription = self._subscriptions.get(queue)
        waiting = len(subscription.arrived) if subscription is not None else 0
        parked = self._parking.count(queue)
        return waiting, self._ledger.count(queue) - waiting - parked, parked

    async def settled(self) -> None:
        """Wait until RabbitMQ has taken note of what was settled here: it confirms none of it."""
        channel = self._channel
        if channel is not None and channel.closed is None:
            with suppress(LinkLost, ChannelClosed):
                await channel.call(commands.Basic.Qos(prefetch_count=1))

    def purge(self, queue: str) -> int:
        """Drop what waits here and nobody has; how many messages that was."""
        parked = self._parking.drop(queue)
        self.ack(parked)
        subscription = self._subscriptions.get(queue)
        if subscription is None or self._channel is None or not subscription.arrived:
            return len(parked)
        dropped = [each.tag for each in subscription.arrived if self._ledger.drop(each.tag)]
        subscription.arrived.clear()
        self._settle(dropped, contents.ack)
        return len(dropped) + len(parked)

    async def close(self) -> None:
        """Give back everything, and wait until RabbitMQ has taken note. Idempotent."""
        # A receive that waits must not take again what is given back here.
        self._closing = True
        self._bell.ring()
        channel = self._channel
        if channel is None or channel.closed is not None:
            self._forget()
            return
        cancels: list[Frame] = [
            commands.Basic.Cancel(consumer_tag=subscription.window.tag)
            for subscription in self._subscriptions.values()
        ]
        self._forget()
        try:
            await channel.call(*cancels, commands.Basic.Qos(prefetch_count=1))
            channel.write(contents.nack(channel.number, 0, multiple=True, requeue=True))
            await channel.call(commands.Channel.Close(200, "bye", 0, 0))
        except (LinkLost, ChannelClosed):
            # RabbitMQ gives back what a closed channel held.
            return
        finally:
            channel.lose(LinkLost("closed"))

    # Taking ---------------------------------------------------------------------------------

    def _take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """What has arrived, as far as it goes, until a queue that more may come from."""
        taken: list[Delivery] = []
        prefix, handed_out = self._ledger.prefix, self._ledger.handed_out
        counted = self._deaths.counted
        for queue in queues:
            if self._parking.any_ripe:
                for ripe in self._parking.take(queue, limit - len(taken)):
                    handed_out[self._ledger.number(ripe)] = ripe
                    taken.append(ripe)
            if self._salvage.any_ripe:
                taken += self._salvage.take(queue, limit - len(taken))
            subscription = self._subscriptions.get(queue)
            if subscription is None:
                continue
            arrived = subscription.arrived
            while arrived and len(taken) < limit:
                each = arrived.popleft()
                delivery = handed_out[each.tag] = delivery_of(queue, each, prefix, counted)
                taken.append(delivery)
        return taken

    async def _look(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """What is there now, without waiting for more."""
        channel = await self._ready()
        await self._topology.ensure(queues)
        if self._has_abandoned_look:
            # What that one still gets is given back before anything is asked for here.
            await channel.call(commands.Basic.Qos(prefetch_count=1))
            self._has_abandoned_look = False
        look = Look()
        try:
            for queue in queues:
                subscription = self._subscriptions.get(queue)
                if subscription is not None:
                    while subscription.arrived and len(look.found) < limit:
                        look.found.append((queue, subscription.arrived.popleft()))
                await self._get(channel, queue, limit, look)
            if self._window_by_tag and len(look.found) < limit:
                # RabbitMQ may have pushed something before it was asked.
                await channel.call(commands.Basic.Qos(prefetch_count=1))
        except BaseException:
            look.is_over = self._has_abandoned_look = True
            self._return([arrived for _, arrived in look.found])
            raise
        if channel is not self._channel:
            return []
        prefix, handed_out = self._ledger.prefix, self._ledger.handed_out
        counted = self._deaths.counted
        taken: list[Delivery] = []
        for queue, arrived in look.found:
            delivery = delivery_of(queue, arrived, prefix, counted)
            handed_out[arrived.tag] = delivery
            taken.append(delivery)
        return taken + self._take(queues, limit - len(taken))

    async def _get(self, channel: Channel, queue: str, limit: int, look: Look) -> None:
        """Get messages of a queue until it is empty or there are enough."""
        window = Window(queue, 0, "")

        def take(arrived: Arrived) -> None:
            if channel is not self._channel:
                return
            self._ledger.held[arrived.tag] = window
            if arrived.redelivered:
                self._ledger.unclear.add(arrived.tag)
            if is_marked(arrived.header) and self._set_aside(queue, arrived):
                return
            look.found.append((queue, arrived))
            if look.is_over:
                self._return([arrived])

        await look.fetch(channel, queue, limit, take)

    async def _subscribe(self, queues: Sequence[str], limit: int) -> bool:
        """Open a window on every queue that has none, or whose window is used up, as long as
        there is room for more; whether there was one to open."""
        channel = self._channel
        if channel is None or channel.closed is not None:
            channel = await self._ready()
        room = limit
        wanted: list[tuple[str, int, Window | None]] = []
        for queue in queues:
            subscription = self._subscriptions.get(queue)
            if subscription is None:
                wanted.append((queue, limit, None))
                continue
            if room > 0 and subscription.is_exhausted:
                largest = subscription.largest = max(subscription.largest, limit)
                window = subscription.window
                wanted.append((queue, min(window.used + limit, 2 * largest), window))
            room -= len(subscription.arrived)
        if not wanted:
            return False
        names = [queue for queue, _, _ in wanted]
        await self._topology.ensure(names)
        await self._salvage.watch(names)
        if channel is self._channel and channel.closed is None:
            await self._open_windows(channel, wanted)
            await self._catch_up(names)
        return True

    async def _open_windows(
        self, channel: Channel, wanted: Sequence[tuple[str, int, Window | None]]
    ) -> None:
        methods: list[Frame] = []
        for queue, asked, seen in wanted:
            subscription = self._subscriptions.get(queue)
            if (subscription.window if subscription is not None else None) is not seen:
                # Someone else was faster.
                continue
            size = min(asked, _LARGEST_WINDOW)
            window = Window(queue, size, f"umbel-{self._name}-{next(self._tags)}")
            self._window_by_tag[window.tag] = window
            if subscription is None:
                self._subscriptions[queue] = Subscription(window)
            else:
                old, subscription.window = subscription.window, window
                del self._window_by_tag[old.tag]
                methods.append(commands.Basic.Cancel(consumer_tag=old.tag))
            methods += (
                commands.Basic.Qos(prefetch_count=size),
                Consume(
                    queue=queue,
                    consumer_tag=window.tag,
                    arguments=self._topology.consumer_arguments(queue),
                ),
            )
        if methods:
            await channel.call(*methods)

    async def _catch_up(self, queues: Sequence[str]) -> None:
        """Wait until everything has arrived that RabbitMQ was about to push.

        A queue that has been counted has pushed before what it could; a channel that has answered
        after that has passed it on.
        """
        for queue in queues:
            if await self._topology.count(queue) is None:
                self._desert(queue)
        await self.settled()

    # What RabbitMQ says -----------------------------------------------------------------------

    async def _ready(self) -> Channel:
        async with self._opening:
            channel = self._channel
            if channel is not None and channel.closed is None:
                return channel
            link = await self._client.link()
            self._forget()
            await self._deaths.watch()
            self._ledger.begin()
            self._channel = await link.channel(
                Listener(
                    delivered=self._delivered,
                    rest=self._bell.ring,
                    cancelled=self._cancelled,
                    closed=self._lose,
                )
            )
            return self._channel

    def _delivered(self, arrived: Arrived) -> None:
        window = self._window_by_tag.get(arrived.consumer)
        subscription = self._subscriptions.get(window.queue) if window is not None else None
        if window is None or subscription is None:
            # Of a consumer that is gone; back with it.
            if (channel := self._channel) is not None:
                channel.write(contents.nack(channel.number, arrived.tag, requeue=True))
            return
        window.used += 1
        self._ledger.held[arrived.tag] = window
        if arrived.redelivered:
            self._ledger.unclear.add(arrived.tag)
        if is_marked(arrived.header) and self._set_aside(window.queue, arrived):
            return
        subscription.arrived.append(arrived)

    def _set_aside(self, queue: str, arrived: Arrived) -> bool:
        """Keep what is not due yet, drop what has expired; whether it was one of the two."""
        moments = read_marks(arrived.header)
        if moments is None:
            return False
        now = self._clock.time()
        delivery = delivery_of(queue, arrived, self._ledger.prefix, self._deaths.counted)
        if moments.expires_at is not None and moments.expires_at <= now:
            self.ack([delivery])
            return True
        delay = moments.due - now
        if not 0 < delay <= _LONGEST_PARKED:
            # Much too early, by a clock that is not ours: the worker goes by the task's ETA.
            return False
        self._parking.add(delivery, delay)
        return True

    def _cancelled(self, tag: str) -> None:
        window = self._window_by_tag.pop(tag, None)
        if window is None:
            return
        logger.warning("Queue %r was deleted, or its node is down; looking again.", window.queue)
        self._topology.miss(window.queue)
        subscription = self._subscriptions.pop(window.queue, None)
        if subscription is not None:
            for arrived in subscription.arrived:
                self._ledger.drop(arrived.tag)
        self._ledger.release(self._parking.drop(window.queue))
        self._bell.ring()

    def _desert(self, queue: str) -> None:
        """A queue is not there; or so RabbitMQ says, which may be starting."""
        subscription, channel = self._subscriptions.get(queue), self._channel
        if subscription is not None and channel is not None:
            channel.write(subscription.window.end(channel.number))
            self._return(subscription.arrived)
            self._cancelled(subscription.window.tag)

    def _stop_consuming(self) -> None:
        """Give back what nobody has fetched, and have no more pushed, until somebody receives."""
        channel = self._channel
        if channel is None or channel.closed is not None:
            return
        for subscription in self._subscriptions.values():
            channel.write(subscription.window.end(channel.number))
            self._return(subscription.arrived)
        self._subscriptions.clear()
        self._window_by_tag.clear()
        self.nack(self._parking.drop_all(), requeue=True)
        self._salvage.leave()

    def _return(self, arrived: Iterable[Arrived]) -> None:
        """Give back messages that no caller has seen."""
        self._settle(
            [each.tag for each in arrived if self._ledger.drop(each.tag)], contents.requeue
        )

    def _lose(self, reason: Exception) -> None:
        if isinstance(reason, ChannelClosed):
            logger.warning("RabbitMQ closed the channel of the messages in hand: %s", reason)
        unclear = self._ledger.unclear
        self._ledger.survive(
            contents.id_of(each.header)
            for subscription in self._subscriptions.values()
            for each in subscription.arrived
            if each.tag not in unclear
        )
        self._deaths.lose()
        self._forget()
        self._bell.ring()

    def _forget(self) -> None:
        self._subscriptions.clear()
        self._window_by_tag.clear()
        self._ledger.forget()
        self._parking.drop_all()
