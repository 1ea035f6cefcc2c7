"""Messages whose holder may have died, while they are run: their deaths are counted.

RabbitMQ says of a message that it was handed out before, not how often and not how that ended. So
before such a message runs, a copy that counts one death more goes through a queue of our own, and
is held there, unacknowledged, instead of the original. Should we die, RabbitMQ puts the copy back
into that queue, where it is too old already, and moves it on to where the original came from.
What ends in order, or is given back in order, is acknowledged there and leaves no trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Sequence
from itertools import count

import msgspec
from pamqp import commands

from umbel.drivers.rabbitmq import contents, marks
from umbel.drivers.rabbitmq.begun import name_of
from umbel.drivers.rabbitmq.channel import Arrived, Channel, ChannelClosed, LinkLost, Listener
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.methods import Consume
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.topology import YOUNG, Topology
from umbel.exceptions import BrokerUnavailable, OperationalError, QueueConflict
from umbel.model import Delivery, Message
from umbel.protocols import Clock

__all__ = ["Suspects"]

logger = logging.getLogger(__name__)

_COMES_WITHIN = 10.0
"""Seconds that we wait for the copies."""
_LIFETIME = 3.0
"""Seconds until a copy that nobody holds is moved on: it comes to us in milliseconds."""
_UNUSED_FOR = 300.0
"""Seconds after which RabbitMQ deletes the queue of a worker that is dead; empty since long."""


class _Held(msgspec.Struct, frozen=True):
    number: int
    """The delivery tag of the copy."""
    delivery: Delivery
    deaths: int
    """How often its holders have died, if we do."""
    since: float


class Suspects:
    """The copies of one worker.

    Args:
        name: Of this client, which nobody else has.
    """

    def __init__(
        self, client: Client, topology: Topology, publisher: Publisher, clock: Clock, *, name: str
    ) -> None:
        self._client = client
        self._topology = topology
        self._publisher = publisher
        self._clock = clock
        self._name = name
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._place_by_queue: dict[str, str] = {}
        self._names: dict[str, tuple[str, float]] = {}
        # By queue, what its place is called, and since when it exists.
        self._numbers = count()
        self._foreseeing: asyncio.Task[None] | None = None
        self._coming: dict[str, asyncio.Future[int]] = {}
        self._held_by_tag: dict[str, _Held] = {}

    @property
    def tags(self) -> Container[str]:
        """Of the deliveries that are kept here."""
        return self._held_by_tag

    def count(self, queue: str) -> int:
        """How many messages of a queue are held here."""
        return sum(held.delivery.queue == queue for held in self._held_by_tag.values())

    def held_for(self, seconds: float) -> list[Delivery]:
        """What has been held so long, with as many attempts as holders have died if we do."""
        before = self._clock.monotonic() - seconds
        return [
            msgspec.structs.replace(each.delivery, attempt=each.deaths)
            for each in self._held_by_tag.values()
            if each.since <= before
        ]

    def all(self) -> list[Delivery]:
        """What is held."""
        return [each.delivery for each in self._held_by_tag.values()]

    def foresee(self, queues: Sequence[str]) -> None:
        """Be ready for messages of these quorum queues, whose places are of no use at first."""
        missing = {each for each in queues if each not in self._names}
        if not missing or self._foreseeing is not None:
            return
        wanted = {queue for queue in missing if self._topology.is_quorum(queue)}
        if wanted:
            self._foreseeing = asyncio.get_running_loop().create_task(self._prepare(wanted))
            self._foreseeing.add_done_callback(self._foreseen)

    async def hold(self, deaths_by_tag: dict[str, int], deliveries: Sequence[Delivery]) -> None:
        """Hold copies of these; each says how often its holder has died, should we die.

        Raises:
            BrokerUnavailable: No connection, or it broke.
        """
        loop = asyncio.get_running_loop()
        channel: Channel | None = None
        try:
            queues = {delivery.queue for delivery in deliveries}
            channel = await self._watch(queues)
            await asyncio.sleep(max(map(self._ripens_in, queues)))
            for delivery in deliveries:
                self._coming[delivery.tag] = loop.create_future()
            waited_for = [self._coming[delivery.tag] for delivery in deliveries]
            copies = [self._copy(each, deaths_by_tag[each.tag]) for each in deliveries]
            await self._publisher.publish(copies)
            async with asyncio.timeout(_COMES_WITHIN):
                numbers = await asyncio.gather(*waited_for)
        except (LinkLost, ChannelClosed, TimeoutError) as exc:
            raise self._client.lost(exc) from exc
        finally:
            for delivery in deliveries:
                # One that comes after all is not wanted any more.
                coming = self._coming.pop(delivery.tag, None)
                # What came over a channel that is closed has been taken back.
                if coming is not None and coming.done() and channel is self._channel:
                    self._note(delivery, deaths_by_tag[delivery.tag], coming)
        if channel is not self._channel or len(numbers) != len(deliveries):
            raise BrokerUnavailable("the connection to RabbitMQ broke while messages were started")

    def strike(self, deliveries: Sequence[Delivery]) -> None:
        """These have ended, or are held elsewhere."""
        channel = self._channel
        for delivery in deliveries:
            held = self._held_by_tag.pop(delivery.tag, None)
            if held is not None and channel is not None:
                channel.write(contents.ack(channel.number, held.number))

    async def close(self) -> None:
        """Leave nothing behind of what is not in use. Idempotent.

        Raises:
            BrokerUnavailable: No connection; RabbitMQ deletes the queues in a while.
        """
        if self._foreseeing is not None:
            self._foreseeing.cancel()
            await asyncio.wait([self._foreseeing])
        places, self._place_by_queue = list(self._place_by_queue.values()), {}
        self._names.clear()
        if not self._held_by_tag:
            for place in places:
                await self._topology.delete(place)

    def _note(self, delivery: Delivery, deaths: int, coming: asyncio.Future[int]) -> None:
        if not coming.cancelled() and coming.exception() is None:
            now = self._clock.monotonic()
            self._held_by_tag[delivery.tag] = _Held(coming.result(), delivery, deaths, now)

    def _copy(self, delivery: Delivery, deaths: int) -> Message:
        message = delivery.message
        now = self._clock.time()
        headers = marks.marked(message, now, expires_at=None, attempts=deaths, copy_of=delivery.tag)
        return msgspec.structs.replace(
            message,
            exchange="",
            routing_key=self._place_by_queue[delivery.queue],
            headers=headers,
            not_before=None,
            expires_at=None,
        )

    async def _watch(self, queues: set[str]) -> Channel:
        async with self._opening:
            link = await self._client.link()
            channel = self._channel
            if channel is None or channel.closed is not None or channel.link is not link:
                self._forget(LinkLost("closed"))
                channel = self._channel = await link.channel(
                    Listener(
                        delivered=self._delivered, cancelled=self._cancelled, closed=self._forget
                    )
                )
            for queue in queues - self._place_by_queue.keys():
                place = await self._provide(queue)
                # Also for whoever comes after one that is cancelled now: RabbitMQ has been asked.
                self._place_by_queue[queue] = place
                await channel.call(Consume(queue=place, consumer_tag=place))
            return channel

    async def _provide(self, queue: str) -> str:
        named = self._names.pop(queue, None)
        place = named[0] if named is not None else self._new_name(queue)
        await self._topology.provide(place, queue, lifetime=_LIFETIME, unused=_UNUSED_FOR)
        # Where that failed, the next one has another name.
        self._names[queue] = named or (place, self._clock.monotonic())
        return place

    def _new_name(self, queue: str) -> str:
        return name_of(f"umbel.suspects.{self._name}.{next(self._numbers)}", queue)

    def _ripens_in(self, queue: str) -> float:
        """Seconds until the place of a queue survives a RabbitMQ that is killed."""
        named = self._names.get(queue)
        if named is None or self._topology.is_quorum(queue) is False:
            return 0.0
        return max(0.0, named[1] + YOUNG - self._clock.monotonic())

    async def _prepare(self, queues: set[str]) -> None:
        try:
            await self._watch(queues)
        except (LinkLost, ChannelClosed, OperationalError, QueueConflict) as error:
            logger.debug("Tried again when it is needed: %s", error)

    def _foreseen(self, _: asyncio.Task[None]) -> None:
        self._foreseeing = None

    def _delivered(self, arrived: Arrived) -> None:
        channel = self._channel
        coming = self._coming.get(marks.copied(contents.Properties(arrived.header).headers))
        if coming is not None and not coming.done():
            coming.set_result(arrived.tag)
        elif channel is None:
            return
        elif arrived.redelivered:
            # Held here until a connection was lost, and then taken back: by then its original may
            # have been acknowledged. On to where that came from.
            channel.write(contents.nack(channel.number, arrived.tag, requeue=False))
        else:
            # Not waited for any more: its original was not acknowledged.
            channel.write(contents.ack(channel.number, arrived.tag))

    def _cancelled(self, _: str) -> None:
        # Deleted by somebody, with what was in it. What is held of other queues goes back.
        channel = self._channel
        if channel is not None and channel.closed is None:
            channel.begin(commands.Channel.Close(200, "bye", 0, 0))
            channel.lose(LinkLost("a queue was deleted"))

    def _forget(self, reason: Exception) -> None:
        """RabbitMQ has taken back all copies."""
        self._channel = None
        self._place_by_queue.clear()
        # RabbitMQ may have been killed.
        for queue in [each for each in self._names if self._ripens_in(each)]:
            del self._names[queue]
        self._held_by_tag.clear()
        for coming in self._coming.values():
            if not coming.done():
                coming.set_exception(reason)
                # Whoever waits may have gone.
                coming.exception()
