"""How often the holders of a message have died: counted beside the messages, by all workers.

RabbitMQ says of a message that it was handed out before, not how often, and not how that ended. So
whoever runs such a message says so first, to all workers, and to a queue that keeps what was said
for those that come later. Who is done with it says that, too, and so does who has lost it and is
alive. When a message comes again, the starts of which nobody has said how they ended were deaths.

The message itself stays in the queue it came from, held by whoever runs it: whenever that one
dies, there is one of it. What is said here may be lost, or come late; then a death is not counted,
or one too many, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from itertools import count

import msgspec
from pamqp import commands

from umbel.drivers.rabbitmq import contents
from umbel.drivers.rabbitmq.channel import Arrived, Channel, ChannelClosed, LinkLost, Listener
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.link import Link
from umbel.drivers.rabbitmq.methods import BindQueue, Consume, DeclareQueue
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.tally import Entry, Start, Tally, outdated
from umbel.drivers.rabbitmq.topology import Topology
from umbel.exceptions import BatchError, BrokerUnavailable, OperationalError, QueueConflict
from umbel.model import Delivery, Exchange, Message, Queue

__all__ = ["Deaths"]

logger = logging.getLogger(__name__)

_NAME = "umbel.deaths"
_KEPT_FOR = 7 * 86400
"""Seconds that what was said is kept for those that come later."""
_LARGEST = 16 << 20
"""Bytes of it; the oldest goes first."""
_ANNOUNCED = Exchange(_NAME, type="fanout")
_BOOK = Queue(
    _NAME,
    _ANNOUNCED,
    message_ttl=_KEPT_FOR,
    queue_arguments={"x-queue-type": "classic", "x-max-length-bytes": _LARGEST},
)
"""The queue that keeps what was said. It is read by one client at a time, and put back."""
_CONTENT_TYPE = "application/x-umbel-deaths"
_READ_WITHIN = 5.0
"""Seconds, also while others read it, and we wait."""
_TURN = 0.05
"""Seconds until we look again whether others have read it, at most."""
_IN_USE = "exclusive"
"""What RabbitMQ's refusal says when others are reading."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Deaths:
    """Says what one client starts, and hears what others do.

    Args:
        client: What it listens with.
        publisher: What it speaks with.
        name: Of this client, which nobody else has.
    """

    def __init__(
        self, client: Client, topology: Topology, publisher: Publisher, *, name: str
    ) -> None:
        self._client = client
        self._topology = topology
        self._publisher = publisher
        self._name = name
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._listened = count()
        self._tally = Tally()
        self._early: list[Entry] | None = None
        # What was heard while what was said before is still being read.
        self._numbers = count()
        self._started_by_tag: dict[str, tuple[int, int]] = {}
        # By receipt: the number of our start, and how many deaths it is if we die.
        self._ended: list[Start] = []
        # What is still to be said of them, and others.
        self._speaking: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        """Know what was said, and listen to what will be. Idempotent.

        Raises:
            LinkLost: The connection broke.
        """
        async with self._opening:
            link = await self._client.link()
            channel = self._channel
            if channel is not None and channel.closed is None and channel.link is link:
                return
            self._channel = None
            try:
                self._channel = await self._listen(link)
            except (ChannelClosed, OperationalError, QueueConflict) as error:
                logger.warning(
                    "How often the holders of a message have died is not counted, so a task that "
                    "kills its worker again and again is not stopped: %s",
                    error,
                )
            finally:
                self._early = None
            if self._ended:
                # Told to ourselves at once; to others when RabbitMQ takes messages.
                self._tally.add(Entry(self._name, ended=self._ended))
                self._speak()

    def counted(self, delivery: Delivery) -> Delivery:
        """The same, with the deaths of those who said that they start it."""
        # What was published anew says by itself how often its holders had died by then.
        deaths = self._tally.deaths(_key(delivery))
        if not deaths:
            return delivery
        return msgspec.structs.replace(delivery, attempt=delivery.attempt + deaths)

    @property
    def are_counted(self) -> bool:
        """Whether we may say anything, and hear it."""
        return self._channel is not None

    async def start(self, deliveries: Sequence[tuple[Delivery, int]]) -> None:
        """Say that these are run, and how many deaths it is if we die. Idempotent.

        Raises:
            BrokerUnavailable: No connection, or it broke: it may count.
        """
        known = self._started_by_tag
        fresh = [each for each in deliveries if each[0].tag not in known and each[0].message.id]
        if not fresh or not self.are_counted:
            # That has been said when it turned out.
            return
        started: list[tuple[int, str, int]] = []
        for delivery, deaths in fresh:
            number = next(self._numbers)
            known[delivery.tag] = (number, deaths)
            started.append((number, _key(delivery), deaths))
        ended, self._ended = self._ended, []
        try:
            await self._say(Entry(self._name, started, ended))
        except BatchError as error:
            logger.warning("Could not count what may kill its worker: %s", error)
        except BaseException:
            self._ended += ended
            self.give_back([each for each, _ in fresh])
            raise

    def deaths_with(self, delivery: Delivery) -> int:
        """How often its holders have died, if we do."""
        _, deaths = self._started_by_tag.get(delivery.tag, (0, 1))
        return delivery.attempt - 1 + deaths

    def leave(self, deliveries: Sequence[Delivery]) -> None:
        """These have died here, and are given back: what was said of their start stands."""
        for each in deliveries:
            self._started_by_tag.pop(each.tag, None)

    def starts(self, deliveries: Sequence[Delivery]) -> list[Start]:
        """How often these were started so far, by us and by who held them before."""
        started, tally = self._started_by_tag, self._tally
        # Almost never is there one.
        if not started and not tally:
            return []
        own = {(self._name, started[each.tag][0]) for each in deliveries if each.tag in started}
        return [
            *own,
            *(
                start
                for each in deliveries
                if each.redelivered
                for start in tally.starts(_key(each))
                if start not in own
            ),
        ]

    def end(self, deliveries: Sequence[Delivery], starts: Sequence[Start]) -> None:
        """These are settled for good; or published anew, and say how often their holders died.

        Args:
            starts: Theirs, as of before that: who has them now may have said that they start.
        """
        if starts:
            for each in deliveries:
                self._started_by_tag.pop(each.tag, None)
            self._ended += starts
            self._mention()

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """We have these no longer, and live."""
        if self._started_by_tag:
            popped = (self._started_by_tag.pop(each.tag, None) for each in deliveries)
            self._ended += [(self._name, start[0]) for start in popped if start is not None]
            self._mention()

    def lose(self) -> None:
        """RabbitMQ has taken back everything; we live, and say so when we are connected again."""
        self._ended += [(self._name, number) for number, _ in self._started_by_tag.values()]
        self._started_by_tag.clear()

    async def close(self) -> None:
        """Say that what is held is given back in order. Idempotent.

        Raises:
            BrokerUnavailable: No connection; it counts.
        """
        self.lose()
        speaking, self._speaking = self._speaking, None
        if speaking is not None:
            speaking.cancel()
            await asyncio.wait([speaking])
        await self._say_rest()

    # Speaking -------------------------------------------------------------------------------

    async def _say(self, entry: Entry) -> None:
        try:
            await self._publisher.publish([self._message(entry)])
        except BatchError:
            # Somebody has deleted the queue, or the exchange.
            self._topology.forget()
            await self._topology.declare([_BOOK])
            await self._publisher.publish([self._message(entry)])

    async def _say_rest(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            await self._say(Entry(self._name, ended=ended))
        except BaseException:
            self._ended += ended
            raise

    def _mention(self) -> None:
        """Say it without waiting; or else with what is said next."""
        if self._ended and self._publisher.mention(
            self._message(Entry(self._name, ended=self._ended))
        ):
            self._ended = []

    def _speak(self) -> None:
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.get_running_loop().create_task(self._speak_up())

    async def _speak_up(self) -> None:
        try:
            await self._say_rest()
        except (BatchError, BrokerUnavailable, OperationalError, QueueConflict) as error:
            logger.debug("Said with what is said next: %s", error)

    def _message(self, entry: Entry) -> Message:
        return Message(
            id=self._name,
            body=_encode(entry),
            content_type=_CONTENT_TYPE,
            content_encoding="binary",
            exchange=_NAME,
            routing_key="",
        )

    # Listening ------------------------------------------------------------------------------

    async def _listen(self, link: Link) -> Channel:
        await self._topology.declare([_BOOK])
        self._early = []
        channel = await link.channel(Listener(delivered=self._delivered, cancelled=self._cancelled))
        # A name of its own for each connection: RabbitMQ may not have noticed yet that the one
        # before is gone.
        queue = f"{_NAME}.{self._name}.{next(self._listened)}"
        await channel.call(
            DeclareQueue(queue=queue, durable=False, exclusive=True, auto_delete=True),
            BindQueue(queue=queue, exchange=_NAME, routing_key=""),
            Consume(queue=queue, consumer_tag=queue, no_ack=True),
        )
        self._tally = await self._read(link)
        early, self._early = self._early, None
        for entry in early:
            self._tally.add(entry)
        return channel

    async def _read(self, link: Link) -> Tally:
        """What was said before."""
        try:
            async with asyncio.timeout(_READ_WITHIN):
                while True:
                    try:
                        return await self._read_alone(link)
                    except ChannelClosed as exc:
                        if _IN_USE not in str(exc):
                            raise
                    await asyncio.sleep(random.uniform(0, _TURN))  # noqa: S311
        except TimeoutError:
            logger.warning(
                "Could not read within %g s how often the holders of messages have died before: "
                "queue %r is busy. It is counted anew.",
                _READ_WITHIN,
                _NAME,
            )
            return Tally()

    async def _read_alone(self, link: Link) -> Tally:
        """The same, unless others read.

        Raises:
            ChannelClosed: They do.
        """
        arrived: list[Arrived] = []
        look = DeclareQueue(queue=_NAME, passive=True)
        tally = Tally()
        channel = await link.channel(Listener(delivered=arrived.append))
        try:
            reply = await channel.call(look)
            assert isinstance(reply, commands.Queue.DeclareOk)
            if not reply.message_count and not reply.consumer_count:
                return tally
            # Nobody else meanwhile: what we have been handed they would not see.
            await channel.call(Consume(queue=_NAME, consumer_tag=self._name, exclusive=True))
            while True:
                reply = await channel.call(look)
                assert isinstance(reply, commands.Queue.DeclareOk)
                if not reply.message_count:
                    break
            # A queue that is empty has pushed all; a channel that answers has passed it on.
            await channel.call(commands.Basic.Qos(prefetch_count=0))
            entries = [_entry(each) for each in arrived]
            for entry in entries:
                tally.add(entry)
            dropped = [arrived[place].tag for place in outdated(entries, tally)]
            channel.write(b"".join([contents.ack(channel.number, tag) for tag in dropped]))
            return tally
        finally:
            # RabbitMQ puts back the rest as it was.
            _close(channel)

    def _delivered(self, arrived: Arrived) -> None:
        entry = _entry(arrived)
        if self._early is not None:
            self._early.append(entry)
        else:
            self._tally.add(entry)

    def _cancelled(self, _: str) -> None:
        # Deleted by somebody; listened to anew when messages are taken.
        channel, self._channel = self._channel, None
        if channel is not None:
            _close(channel)


def _key(delivery: Delivery) -> str:
    """Names a message among all that wait."""
    return f"{delivery.message.id} {delivery.queue}"


def _close(channel: Channel) -> None:
    if channel.closed is None:
        channel.begin(commands.Channel.Close(200, "bye", 0, 0))
        channel.lose(LinkLost("closed"))


def _entry(arrived: Arrived) -> Entry:
    try:
        return _decode(arrived.body)
    except (msgspec.DecodeError, ValueError):
        # Whatever it is, it says nothing of any message.
        return Entry("")
