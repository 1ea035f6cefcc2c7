"""Messages into RabbitMQ: many in flight, each confirmed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from pamqp import commands

from umbel.drivers.rabbitmq.channel import Arrived, Channel, ChannelClosed, LinkLost, Listener
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.contents import id_of, publication
from umbel.drivers.rabbitmq.topology import Topology
from umbel.exceptions import (
    BatchError,
    EncodeError,
    OperationalError,
    QueueConflict,
    QueueNotFound,
)
from umbel.model import Message
from umbel.protocols import Clock
from umbel.routing.expiry import drop_time

__all__ = ["Publisher"]


class _Batch:
    """Messages that went out together; done when RabbitMQ has answered for all of them."""

    __slots__ = ("first", "future", "last", "refused", "returned", "unconfirmed")

    def __init__(self, first: int, count: int, future: asyncio.Future[None]) -> None:
        self.first = first
        self.last = first + count - 1
        self.unconfirmed = set(range(first, first + count))
        self.refused: set[int] = set()
        self.returned: list[Arrived] = []
        self.future = future

    def settle(self, numbers: set[int], taken: bool) -> bool:
        """RabbitMQ has answered for some; whether that were the last ones."""
        if not taken:
            self.refused |= numbers
        self.unconfirmed -= numbers
        if self.unconfirmed:
            return False
        if not self.future.done():
            self.future.set_result(None)
        return True


class Publisher:
    """Publishes on a channel in confirm mode; a call returns once its messages are safe.

    What reaches no queue comes back, and is refused or, when it was for a queue by name, sent
    again to a queue that is made for it.

    Args:
        confirm_timeout: Seconds to wait for RabbitMQ to take a batch.
        mandatory: False: what reaches no queue is dropped.
    """

    def __init__(
        self,
        client: Client,
        topology: Topology,
        clock: Clock,
        *,
        confirm_timeout: float,
        mandatory: bool = True,
    ) -> None:
        self._client = client
        self._topology = topology
        self._clock = clock
        self._confirm_timeout = confirm_timeout
        self._mandatory = mandatory
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._next = 1
        self._batches: deque[_Batch] = deque()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish and wait for the confirmations.

        Raises:
            BatchError: Some were refused; the others are in.
            BrokerUnavailable: The connection broke; any of them may be in.
            BrokerBlocked: RabbitMQ takes none; what it has not confirmed is, as a rule, not in.
        """
        refused: dict[int, Exception] = {}
        now = self._clock.time()
        wanted: list[int] = []
        for index, message in enumerate(messages):
            if message.exchange and not await self._topology.exists(message.exchange):
                refused[index] = OperationalError(f"there is no exchange {message.exchange!r}")
            elif message.expires_at is None or not _has_expired(message, now):
                wanted.append(index)
        homeless: list[int] = []
        try:
            homeless = await self._send(messages, wanted, refused)
        except ChannelClosed:
            # One of them closed the channel under all others: one by one, to see which.
            for index in wanted:
                if index not in refused:
                    homeless += await self._send_alone(messages, index, refused)
        if homeless:
            await self._rehouse(messages, homeless, refused)
        if refused:
            reasons = sorted({str(reason) for reason in refused.values()})
            raise BatchError(
                f"{len(refused)} of {len(messages)} messages were refused: {reasons[0]}",
                dict(sorted(refused.items())),
            )

    def mention(self, message: Message) -> bool:
        """Publish a message to what exists, without waiting; without a connection, not.

        Returns:
            Whether it was sent. What became of it nobody hears.
        """
        channel = self._channel
        if channel is None or channel.closed is not None or self._client.blocked is not None:
            return False
        frames = publication(channel.number, channel.link.frame_limit, message, expiration=None)
        # So that the confirmations of others are told from this one's.
        self._begin(1)
        channel.write(frames)
        return True

    async def _send_alone(
        self, messages: Sequence[Message], index: int, refused: dict[int, Exception]
    ) -> list[int]:
        try:
            return await self._send(messages, [index], refused)
        except ChannelClosed as exc:
            refused[index] = OperationalError(f"RabbitMQ refuses: {exc}")
            return []

    async def _rehouse(
        self, messages: Sequence[Message], homeless: Sequence[int], refused: dict[int, Exception]
    ) -> None:
        """Make the queues that were missing, and send once more."""
        again: list[int] = []
        for index in homeless:
            queue = messages[index].routing_key
            try:
                self._topology.miss(queue)
                await self._topology.ensure([queue])
            except (EncodeError, OperationalError, QueueConflict, QueueNotFound) as exc:
                refused[index] = exc
            else:
                again.append(index)
        for index in await self._send(messages, again, refused):
            refused[index] = _unroutable(messages[index])

    async def _send(
        self, messages: Sequence[Message], wanted: Sequence[int], refused: dict[int, Exception]
    ) -> list[int]:
        """Send some; adds the refused ones to ``refused``, returns those whose queue is missing.

        Raises:
            ChannelClosed: RabbitMQ closed the channel because of one of them.
            BrokerUnavailable: As :meth:`publish`.
        """
        if self._client.blocked is not None:
            await self._client.unblocked(self._confirm_timeout)
        channel = await self._ready()
        await channel.link.drained()
        frames: list[bytes] = []
        sent: list[int] = []
        number, limit, now = channel.number, channel.link.frame_limit, self._clock.time()
        for index in wanted:
            message = messages[index]
            try:
                frames.append(
                    publication(
                        number,
                        limit,
                        message,
                        expiration=_expiration(message, now),
                        mandatory=self._mandatory,
                    )
                )
            except EncodeError as exc:
                refused[index] = exc
            else:
                sent.append(index)
        if not sent:
            return []
        batch = self._begin(len(sent))
        channel.write(b"".join(frames))
        await self._confirmation(batch, channel)
        for number in batch.refused:
            refused[sent[number - batch.first]] = OperationalError(
                "RabbitMQ could not take the message (nack): its queue is full or broken"
            )
        if not batch.returned:
            return []
        return self._returned(messages, sent, batch, refused)

    def _begin(self, count: int) -> _Batch:
        batch = _Batch(self._next, count, asyncio.get_running_loop().create_future())
        self._next += count
        self._batches.append(batch)
        return batch

    async def _confirmation(self, batch: _Batch, channel: Channel) -> None:
        if channel.closed is not None and not batch.future.done():
            batch.future.set_exception(channel.closed)
        try:
            async with asyncio.timeout(self._confirm_timeout):
                await batch.future
        except TimeoutError as exc:
            if self._client.blocked is None:
                # A quorum queue that had no leader as the channel first published to it, because
                # RabbitMQ was starting, may never confirm there; on another channel it does.
                if channel.closed is None:
                    channel.begin(commands.Channel.Close(200, "bye", 0, 0))
                    channel.lose(LinkLost("RabbitMQ does not confirm what is published"))
                raise self._client.failure(
                    f"has not confirmed what was published within {self._confirm_timeout:g} s"
                ) from exc
            error = self._client.blockade(self._confirm_timeout)
            # RabbitMQ would take in the end what it has not read yet, and the caller was told no.
            channel.link.close("RabbitMQ takes no messages")
            raise error from exc
        except LinkLost as exc:
            raise self._client.lost(exc) from exc

    def _returned(
        self,
        messages: Sequence[Message],
        sent: Sequence[int],
        batch: _Batch,
        refused: dict[int, Exception],
    ) -> list[int]:
        """Which of the messages came back; those for a queue by name are returned."""
        places: dict[tuple[str, str, bytes, str], list[int]] = {}
        for index in sent:
            message = messages[index]
            id_ = message.correlation_id or message.id
            key = (message.exchange, message.routing_key, message.body, id_)
            places.setdefault(key, []).append(index)
        homeless: list[int] = []
        for content in batch.returned:
            key = (content.exchange, content.routing_key, content.body, id_of(content.header))
            found = places.get(key)
            if not found:
                continue
            index = found.pop(0)
            if content.exchange:
                refused[index] = _unroutable(messages[index])
            else:
                homeless.append(index)
        return homeless

    async def _ready(self) -> Channel:
        link = await self._client.link()
        channel = self._channel
        if channel is not None and channel.closed is None and channel.link is link:
            return channel
        async with self._opening:
            channel = self._channel
            if channel is not None and channel.closed is None:
                return channel
            try:
                # The connection may have been lost, and found again, while we waited.
                link = await self._client.link()
                channel = await link.channel(
                    Listener(confirmed=self._confirmed, returned=self._came_back, closed=self._lose)
                )
                self._next = 1
                await channel.call(commands.Confirm.Select())
            except LinkLost as exc:
                raise self._client.lost(exc) from exc
            self._channel = channel
            return channel

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        batches = self._batches
        if not multiple:
            for batch in batches:
                if batch.first <= tag <= batch.last:
                    if batch.settle({tag}, taken):
                        batches.remove(batch)
                    return
            return
        while batches and batches[0].first <= tag:
            batch = batches[0]
            if batch.last > tag:
                batch.settle({each for each in batch.unconfirmed if each <= tag}, taken)
                return
            batch.settle(set(batch.unconfirmed), taken)
            batches.popleft()

    def _came_back(self, content: Arrived) -> None:
        # RabbitMQ confirms what it returns after it has returned it, so its batch is still here;
        # which one it is shows in the message, and there is seldom more than one.
        for batch in self._batches:
            batch.returned.append(content)

    def _lose(self, reason: Exception) -> None:
        batches, self._batches = self._batches, deque()
        for batch in batches:
            if not batch.future.done():
                batch.future.set_exception(reason)
                # Its caller may have gone.
                batch.future.exception()


def _has_expired(message: Message, now: float) -> bool:
    moment = drop_time(message, message_ttl=None, now=now)
    return moment is not None and moment <= now


def _expiration(message: Message, now: float) -> str | None:
    if message.expires_at is None:
        return None
    moment = drop_time(message, message_ttl=None, now=now)
    return None if moment is None else str(max(0, min(round((moment - now) * 1000), 0xFFFFFFFF)))


def _unroutable(message: Message) -> Exception:
    return OperationalError(
        f"no queue is bound to exchange {message.exchange!r} with the routing key "
        f"{message.routing_key!r}"
    )
