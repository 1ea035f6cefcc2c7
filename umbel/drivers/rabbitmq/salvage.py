"""What workers had begun that are dead: found in the queue of losses, handed out once more."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from itertools import count

import msgspec
from pamqp import commands

from umbel.drivers.rabbitmq import contents
from umbel.drivers.rabbitmq.begun import DONE, Note, losses_of, queue_of_losses
from umbel.drivers.rabbitmq.channel import Arrived, Channel, LinkLost, Listener
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.methods import Consume
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.topology import Topology
from umbel.exceptions import DecodeError
from umbel.model import Delivery, Message
from umbel.protocols import Clock

__all__ = ["Salvage", "gathering"]

logger = logging.getLogger(__name__)

_DIED = b"\x07x-death"
"""The field of a note that grew old; one without it was left by a worker that ended in order."""


_LEAST_GATHERING = 1.0


class _Death(msgspec.Struct, frozen=True):
    time: datetime


class _Headers(msgspec.Struct, frozen=True):
    deaths: list[_Death] = msgspec.field(name="x-death", default_factory=list[_Death])


class _Wreck:
    """What was found of one worker, of one queue."""

    def __init__(self, owner: str, queue: str) -> None:
        self.owner = owner
        self.queue = queue
        self.note_by_tag: dict[str, Note] = {}
        self.done: set[str] = set()
        self.numbers: list[int] = []
        """Delivery tags of the notes."""
        self.unsettled: dict[str, str] = {}
        """Receipts of what was handed out, and the tags that the dead had for it."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def lost(self) -> list[Note]:
        return [note for tag, note in self.note_by_tag.items() if tag not in self.done]


class Salvage:
    """Reads the queues of losses beside the queues that are received from.

    Notes come in no order, and what they note may be followed by a note that it has ended: all
    those of one worker are gathered for a while before any is handed out.

    Args:
        gather_for: Seconds.
    """

    def __init__(
        self,
        client: Client,
        topology: Topology,
        publisher: Publisher,
        *,
        clock: Clock,
        name: str,
        gather_for: float,
    ) -> None:
        self._clock = clock
        self._client = client
        self._topology = topology
        self._publisher = publisher
        self._name = name
        self._gather_for = gather_for
        self._wake: Callable[[], None] = _nobody
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._consumers = count()
        self._queue_by_consumer: dict[str, str] = {}
        self._wrecks: dict[tuple[str, str], _Wreck] = {}
        self._wreck_by_receipt: dict[str, _Wreck] = {}
        self._ripe_by_queue: dict[str, deque[Delivery]] = {}
        self._epoch = 0

    @property
    def any_ripe(self) -> bool:
        """Whether :meth:`take` is worth asking."""
        return bool(self._ripe_by_queue)

    def listen(self, wake: Callable[[], None]) -> None:
        """Say who is woken when something was found."""
        self._wake = wake

    async def watch(self, queues: Sequence[str]) -> None:
        """Look out for what of these queues was begun by workers that are dead.

        Raises:
            LinkLost: The connection broke.
            ChannelClosed: RabbitMQ refused.
        """
        async with self._opening:
            link = await self._client.link()
            channel = self._channel
            if channel is None or channel.closed is not None or channel.link is not link:
                self._forget()
                self._epoch += 1
                channel = self._channel = await link.channel(
                    Listener(
                        delivered=self._delivered, cancelled=self._cancelled, closed=self._lose
                    )
                )
            known = set(self._queue_by_consumer.values())
            for queue in queues:
                if queue not in known:
                    consumer = f"{self._name}-{next(self._consumers)}"
                    await self._topology.declare([queue_of_losses(queue)])
                    # Not before: had this failed, nobody would ever consume it. Not after the
                    # call: what is found there may come with its answer.
                    self._queue_by_consumer[consumer] = queue
                    await channel.call(Consume(queue=losses_of(queue), consumer_tag=consumer))

    def leave(self) -> None:
        """Let others find it, until :meth:`watch`; unless some of it is being settled here."""
        channel = self._channel
        waiting = sum(len(ripe) for ripe in self._ripe_by_queue.values())
        is_idle = len(self._wreck_by_receipt) == waiting
        if is_idle and channel is not None and channel.closed is None:
            channel.begin(commands.Channel.Close(200, "bye", 0, 0))
            channel.lose(LinkLost("closed"))

    def take(self, queue: str, limit: int) -> list[Delivery]:
        """Up to ``limit`` of what was begun of a queue and has not ended."""
        ripe = self._ripe_by_queue.get(queue)
        if ripe is None:
            return []
        taken = [ripe.popleft() for _ in range(min(limit, len(ripe)))]
        if not ripe:
            del self._ripe_by_queue[queue]
        return taken

    @property
    def tags(self) -> Container[str]:
        """Of the deliveries that are kept here."""
        return self._wreck_by_receipt

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        """What was to be said of these has been said.

        Raises:
            BrokerUnavailable: No connection, or it broke.
        """
        done: dict[_Wreck, list[str]] = {}
        for delivery in deliveries:
            wreck = self._wreck_by_receipt.pop(delivery.tag)
            done.setdefault(wreck, []).append(wreck.unsettled.pop(delivery.tag))
        for wreck, tags in done.items():
            wreck.done.update(tags)
            if wreck.unsettled or wreck.timer is not None:
                # Should we die, too, before the rest: for whoever comes after us.
                note = Message(
                    id=wreck.owner,
                    body=msgspec.msgpack.encode(tags),
                    content_type=DONE,
                    content_encoding="binary",
                    routing_key=losses_of(wreck.queue),
                )
                await self._publisher.publish([note])
            else:
                self._finish(wreck)

    def _delivered(self, arrived: Arrived) -> None:
        queue = self._queue_by_consumer.get(arrived.consumer)
        channel = self._channel
        if queue is None or channel is None:
            return
        try:
            fields = contents.Properties(arrived.header)
            owner = str(fields.fields.get("correlation_id", ""))
            wreck = self._wrecks.get((owner, queue)) or _Wreck(owner, queue)
            if fields.fields.get("content_type") == DONE:
                wreck.done.update(msgspec.msgpack.decode(arrived.body, type=list[str]))
            else:
                for note in _read(arrived.body):
                    wreck.note_by_tag.setdefault(note.tag, note)
        except (DecodeError, msgspec.DecodeError, ValueError) as error:
            logger.warning("Dropped a note in %r that cannot be read: %s", losses_of(queue), error)
            channel.write(contents.ack(channel.number, arrived.tag))
            return
        self._wrecks[owner, queue] = wreck
        wreck.numbers.append(arrived.tag)
        if wreck.timer is None:
            delay = self._gather_for if _DIED in arrived.header else 0.0
            if delay and arrived.redelivered:
                # Who had it was frozen, or cut off without a word, and RabbitMQ took half a
                # minute to see that: what was to follow is here.
                delay = gathering(fields.headers, now=self._clock.time(), most=delay)
            loop = asyncio.get_running_loop()
            wreck.timer = loop.call_later(delay, self._ripen, wreck)

    def _ripen(self, wreck: _Wreck) -> None:
        wreck.timer = None
        handed_out = set(wreck.unsettled.values())
        found: list[Delivery] = []
        for note in wreck.lost:
            if note.tag in handed_out:
                continue
            receipt = f"{self._name}.{self._epoch}.{note.tag}"
            wreck.unsettled[receipt] = note.tag
            self._wreck_by_receipt[receipt] = wreck
            found.append(
                Delivery(
                    message=note.message,
                    queue=wreck.queue,
                    tag=receipt,
                    attempt=note.attempt,
                    redelivered=True,
                    begun=True,
                )
            )
        if found:
            self._ripe_by_queue.setdefault(wreck.queue, deque()).extend(found)
            self._wake()
        elif not wreck.unsettled:
            self._finish(wreck)

    def _finish(self, wreck: _Wreck) -> None:
        self._wrecks.pop((wreck.owner, wreck.queue), None)
        channel = self._channel
        if channel is not None:
            frames = [contents.ack(channel.number, number) for number in wreck.numbers]
            channel.write(b"".join(frames))

    def _cancelled(self, consumer: str) -> None:
        # Deleted by somebody; declared anew with the next watch.
        self._queue_by_consumer.pop(consumer, None)

    def _lose(self, _: Exception) -> None:
        self._forget()

    def _forget(self) -> None:
        """RabbitMQ has given back all notes."""
        for wreck in self._wrecks.values():
            if wreck.timer is not None:
                wreck.timer.cancel()
        self._queue_by_consumer.clear()
        self._wrecks.clear()
        self._wreck_by_receipt.clear()
        self._ripe_by_queue.clear()


def gathering(headers: bytes, *, now: float, most: float) -> float:
    """Seconds to wait for more notes after one that grew old a while ago.

    Args:
        headers: Of the note, as RabbitMQ's ``x-death`` has completed them.
        now: Unix seconds.
        most: Seconds to wait after one that has just grown old, or nobody knows when.
    """
    try:
        [death, *_] = msgspec.json.decode(headers, type=_Headers).deaths
    except (msgspec.DecodeError, ValueError):
        return most
    # RabbitMQ's clock may differ from ours.
    return min(most, max(_LEAST_GATHERING, most - (now - death.time.timestamp())))


def _read(body: bytes) -> list[Note]:
    return msgspec.msgpack.decode(body, type=list[Note])


def _nobody() -> None:
    return
