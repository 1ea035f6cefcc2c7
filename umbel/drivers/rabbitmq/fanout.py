"""Traffic beside the tasks over RabbitMQ: real exchanges, and queues that go with their listener.

Source:
    Exchanges, queues and their arguments as observed with Celery 5.7 (``celery.pidbox``,
    ``reply.celery.pidbox``, ``celeryev``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from pamqp import commands
from pamqp.base import Frame

from umbel.drivers.rabbitmq import address
from umbel.drivers.rabbitmq.channel import Arrived, Channel, ChannelClosed, LinkLost, Listener
from umbel.drivers.rabbitmq.connection import Client, options_of
from umbel.drivers.rabbitmq.contents import message_of, publication
from umbel.drivers.rabbitmq.methods import BindQueue, Consume, DeclareQueue
from umbel.drivers.rabbitmq.topology import arguments_of, declaration_of
from umbel.exceptions import BrokerUnavailable, DecodeError, OperationalError
from umbel.model import Exchange, Message, Queue
from umbel.protocols import Clock

__all__ = ["RabbitMQFanout"]

logger = logging.getLogger(__name__)

_MOST_KEPT = 20_000
"""Messages kept for a listener that does not fetch them; the oldest go first."""
_PAUSE = 1.0
"""Seconds between two attempts to listen again, at most twice as long."""
_CONFIRMATION = 5.0
"""Seconds to wait until RabbitMQ says that it has taken what was said."""
_LOCKED = 405
"""RabbitMQ's code for a queue that belongs to another connection."""


class RabbitMQFanout:
    """Implements ``umbel.protocols.Fanout``.

    Two connections, as the broker's: one that RabbitMQ may block, one to listen.
    """

    encloses = False

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int | None = 3,
    ) -> None:
        options = transport_options or {}
        addresses = address.parse(url, options.get("ssl"))
        client_options = options_of(
            options, connect_timeout=connect_timeout, max_retries=max_retries, name="umbel-fanout"
        )
        self._clock = clock
        self._speaker = Client(
            addresses, clock=clock, options=client_options, error=BrokerUnavailable
        )
        self._listener = Client(
            addresses, clock=clock, options=client_options, error=BrokerUnavailable
        )
        self._channel: Channel | None = None
        # The exchanges that exist, as far as the channel knows.
        self._declared: set[str] = set()
        self._speaking = asyncio.Lock()
        self._sent = 0
        # The number of the message that is being waited for, and whether it came back.
        self._awaited: tuple[int, asyncio.Future[None]] | None = None
        self._returned: list[Arrived] = []
        self._inboxes: set[_Inbox] = set()

    async def open(self) -> None:
        """Connect. Idempotent. Listening begins with the first listener."""
        self._speaker.permit()
        self._listener.permit()
        await self._speaker.link()

    async def close(self) -> None:
        """Disconnect; whoever listens is told. Idempotent."""
        for inbox in self._inboxes:
            inbox.fail(BrokerUnavailable("the fan-out was closed"))
        try:
            await self._listener.close()
        finally:
            await self._speaker.close()

    async def broadcast(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        """Say something to whoever listens now; not while RabbitMQ is short of memory.

        Returns:
            0 when the last message came back because nobody listens; else None: RabbitMQ does not
            say how many do.
        """
        if not messages or self._speaker.blocked is not None:
            return None
        try:
            # One at a time: whoever declares an exchange must be done before others use it.
            async with self._speaking:
                channel = await self._ready(exchange)
                await channel.link.drained()
                return await self._say(channel, exchange, messages)
        except LinkLost as error:
            raise self._speaker.lost(error) from error
        except ChannelClosed as error:
            raise OperationalError(
                f"RabbitMQ does not let us send to the exchange {exchange.name!r}: {error}"
            ) from error

    async def _say(
        self, channel: Channel, exchange: Exchange, messages: Sequence[Message]
    ) -> int | None:
        frames = _frames(channel, exchange, messages)
        self._sent += len(messages)
        self._returned.clear()
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited = (self._sent, confirmed)
        channel.write(frames)
        try:
            async with asyncio.timeout(_CONFIRMATION):
                await confirmed
        except TimeoutError:
            return None
        finally:
            self._awaited = None
        last = messages[-1]
        came_back = any(
            each.body == last.body and each.routing_key == last.routing_key
            for each in self._returned
        )
        return 0 if came_back else None

    def _confirmed(self, tag: int, multiple: bool, _taken: bool) -> None:
        if self._awaited is None:
            return
        number, confirmed = self._awaited
        if (tag == number or (multiple and tag > number)) and not confirmed.done():
            confirmed.set_result(None)

    def _closed(self, reason: Exception) -> None:
        if self._awaited is not None and not self._awaited[1].done():
            self._awaited[1].set_exception(reason)

    async def _ready(self, exchange: Exchange) -> Channel:
        link = await self._speaker.link()
        channel = self._channel
        if channel is None or channel.closed is not None or channel.link is not link:
            channel = await link.channel(
                Listener(
                    confirmed=self._confirmed, returned=self._returned.append, closed=self._closed
                )
            )
            # What nobody hears comes back before it is confirmed.
            await channel.call(commands.Confirm.Select())
            self._channel = channel
            self._sent = 0
            self._declared.clear()
        if exchange.name not in self._declared:
            await channel.call(declaration_of(exchange))
            self._declared.add(exchange.name)
        return channel

    @asynccontextmanager
    async def listen(self, queues: Sequence[Queue]) -> AsyncGenerator[AsyncIterator[list[Message]]]:
        """Everything sent from the moment the context is entered, in batches."""
        inbox = _Inbox()
        channel = await self._listen(queues, inbox)
        # It mends the channel for as long as the one who listens is there; a task group would
        # raise in them what they are told anyway.
        mending = asyncio.get_running_loop().create_task(self._mend(queues, inbox))
        self._inboxes.add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes.discard(inbox)
            mending.cancel()
            await asyncio.wait([mending])
            await self._leave(inbox.channel or channel)

    async def _listen(self, queues: Sequence[Queue], inbox: _Inbox) -> Channel:
        try:
            link = await self._listener.link()
            channel = await link.channel(
                Listener(delivered=inbox.add, closed=inbox.lose, cancelled=inbox.desert)
            )
            inbox.channel = channel
            await channel.call(*_listening(queues))
        except LinkLost as error:
            raise self._listener.lost(error) from error
        except ChannelClosed as error:
            names = ", ".join(repr(queue.name) for queue in queues)
            if error.code == _LOCKED:
                raise _InUse(
                    f"cannot listen at {names}: another connection does. Does a worker of the same "
                    "name run elsewhere? Give each its own with --hostname."
                ) from error
            raise OperationalError(f"cannot listen at {names}: {error}") from error
        return channel

    async def _mend(self, queues: Sequence[Queue], inbox: _Inbox) -> None:
        """Listen again whenever the connection or the channel was lost."""
        while True:
            await inbox.lost.wait()
            inbox.lost.clear()
            try:
                await self._listen(queues, inbox)
            except _InUse as error:
                # RabbitMQ has not noticed yet that our connection of before is gone.
                logger.warning("%s Trying again…", error)
                inbox.lost.set()
            except BrokerUnavailable as error:
                if not inbox.lost.is_set():
                    inbox.fail(error)
                    return
            except OperationalError as error:
                inbox.fail(BrokerUnavailable(str(error)))
                return
            # Not all listeners of all programs at once.
            await self._clock.sleep(random.uniform(_PAUSE / 2, _PAUSE))  # noqa: S311

    async def _leave(self, channel: Channel) -> None:
        """Close the channel; with its consumer, its queue goes."""
        if channel.closed is None:
            with suppress(LinkLost, ChannelClosed):
                await channel.call(commands.Channel.Close(200, "bye", 0, 0))
            channel.lose(LinkLost("closed"))


class _InUse(OperationalError):
    """The queue is exclusive, and another connection's."""


class _Inbox(AsyncIterator[list[Message]]):
    """What one listener has not fetched yet."""

    def __init__(self) -> None:
        self._arrived: deque[Arrived] = deque(maxlen=_MOST_KEPT)
        self._more = asyncio.Event()
        self._failure: Exception | None = None
        self.channel: Channel | None = None
        """What it is filled from."""
        self.lost = asyncio.Event()
        """Set when nothing comes in any more."""

    def add(self, arrived: Arrived) -> None:
        """A message."""
        self._arrived.append(arrived)
        self._more.set()

    def lose(self, _reason: Exception) -> None:
        """The channel is gone."""
        self.lost.set()

    def desert(self, _tag: str) -> None:
        """The queue is gone."""
        self.lost.set()

    def fail(self, error: Exception) -> None:
        """There will be nothing new."""
        self._failure = error
        self._more.set()

    async def __anext__(self) -> list[Message]:
        while True:
            messages: list[Message] = []
            while self._arrived:
                each = self._arrived.popleft()
                try:
                    messages.append(
                        message_of(each.exchange, each.routing_key, each.header, each.body)
                    )
                except DecodeError as error:
                    logger.warning("Ignored what is no message on a control queue: %s", error)
            if messages:
                return messages
            if self._failure is not None:
                raise self._failure
            self._more.clear()
            await self._more.wait()


def _frames(channel: Channel, exchange: Exchange, messages: Sequence[Message]) -> bytes:
    return b"".join(
        [
            publication(
                channel.number,
                channel.link.frame_limit,
                msgspec.structs.replace(message, exchange=exchange.name),
                expiration=None,
            )
            for message in messages
        ]
    )


def _listening(queues: Sequence[Queue]) -> list[Frame]:
    methods: list[Frame] = []
    for queue in queues:
        exchange = queue.exchange
        assert exchange is not None, "what is listened to has an exchange"
        methods += [
            declaration_of(exchange),
            DeclareQueue(
                queue=queue.name,
                durable=queue.durable,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                arguments=arguments_of(queue),
            ),
            BindQueue(queue=queue.name, exchange=exchange.name, routing_key=queue.routing_key),
            Consume(queue=queue.name, no_ack=True),
        ]
    return methods
