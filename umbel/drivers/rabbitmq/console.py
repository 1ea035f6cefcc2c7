"""Single methods of AMQP 0-9-1, for people: what ``umbel amqp`` says to RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from pamqp import commands
from pamqp.base import Frame

from umbel.drivers.rabbitmq import address, contents
from umbel.drivers.rabbitmq.channel import (
    Arrived,
    Channel,
    ChannelClosed,
    LinkLost,
    Listener,
    Reply,
)
from umbel.drivers.rabbitmq.connection import Client, options_of
from umbel.drivers.rabbitmq.methods import (
    BindQueue,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    Get,
    PurgeQueue,
)
from umbel.exceptions import BrokerUnavailable, UmbelError
from umbel.model import Message
from umbel.protocols import Clock

__all__ = ["Console", "QueueInfo"]

_CONFIRMED_WITHIN = 10.0
"""Seconds."""


class QueueInfo(msgspec.Struct, frozen=True):
    """What RabbitMQ says of a queue when it is declared."""

    queue: str
    messages: int
    """That are ready."""
    consumers: int


class Console:
    """One channel, on which things are done one after the other.

    What RabbitMQ refuses closes the channel: messages that were got and not acknowledged are then
    in their queue again, and the next call opens another channel.

    Every method raises ``UmbelError`` when RabbitMQ refuses, ``BrokerUnavailable`` when there is
    no connection.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
    ) -> None:
        options = transport_options or {}
        addresses = address.parse(url, options.get("ssl"))
        self._client = Client(
            addresses,
            clock=clock,
            options=options_of(
                options, connect_timeout=connect_timeout, max_retries=0, name="umbel-amqp"
            ),
            error=BrokerUnavailable,
        )
        self.safe_url = addresses[0].safe_url
        self._channel: Channel | None = None
        self._confirmed: asyncio.Future[bool] | None = None
        self._returned = False

    async def open(self) -> None:
        """Connect. Idempotent."""
        self._client.permit()
        await self._client.link()

    async def close(self) -> None:
        """Disconnect; what was got and not acknowledged goes back to its queue."""
        await self._client.close()

    async def declare_exchange(
        self, exchange: str, type: str, *, passive: bool, durable: bool, auto_delete: bool
    ) -> None:
        """Make an exchange exist; ``passive``: only see whether it does."""
        await self._call(
            DeclareExchange(
                exchange=exchange,
                exchange_type=type,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
            )
        )

    async def delete_exchange(self, exchange: str, *, if_unused: bool) -> None:
        """Make an exchange not exist."""
        await self._call(DeleteExchange(exchange=exchange, if_unused=if_unused))

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let what is sent to an exchange with that key come to a queue."""
        await self._call(BindQueue(queue=queue, exchange=exchange, routing_key=routing_key))

    async def declare_queue(
        self, queue: str, *, passive: bool, durable: bool, auto_delete: bool
    ) -> QueueInfo:
        """Make a queue exist; ``passive``: only see whether it does."""
        reply = await self._call(
            DeclareQueue(queue=queue, passive=passive, durable=durable, auto_delete=auto_delete)
        )
        assert isinstance(reply, commands.Queue.DeclareOk)
        return QueueInfo(reply.queue or queue, reply.message_count or 0, reply.consumer_count or 0)

    async def delete_queue(self, queue: str, *, if_unused: bool, if_empty: bool) -> int:
        """Make a queue not exist; how many messages were lost with it."""
        reply = await self._call(DeleteQueue(queue=queue, if_unused=if_unused, if_empty=if_empty))
        assert isinstance(reply, commands.Queue.DeleteOk)
        return reply.message_count or 0

    async def purge_queue(self, queue: str) -> int:
        """Drop what is ready in a queue; how many messages that was."""
        reply = await self._call(PurgeQueue(queue=queue))
        assert isinstance(reply, commands.Queue.PurgeOk)
        return reply.message_count or 0

    async def get(self, queue: str, *, no_ack: bool) -> dict[str, Any] | None:
        """Take a message: its body, properties and delivery_info; None: there is none."""
        reply = await self._call(Get(queue=queue, no_ack=no_ack))
        if not isinstance(reply, Arrived):
            return None
        properties = contents.Properties(reply.header)
        return {
            "body": reply.body.decode("utf-8", "backslashreplace"),
            "properties": {
                **properties.fields,
                "application_headers": msgspec.json.decode(properties.headers),
            },
            "delivery_info": {
                "delivery_tag": reply.tag,
                "redelivered": reply.redelivered,
                "exchange": reply.exchange,
                "routing_key": reply.routing_key,
            },
        }

    async def publish(self, body: str, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        """Publish a text, and wait until RabbitMQ has it.

        Raises:
            UmbelError: With ``mandatory``, it reached no queue.
        """
        channel = await self._open_channel()
        self._returned = False
        self._confirmed = asyncio.get_running_loop().create_future()
        message = Message(
            id="",
            body=body.encode(),
            content_type="text/plain",
            exchange=exchange,
            routing_key=routing_key,
        )
        channel.write(
            contents.publication(
                channel.number,
                channel.link.frame_limit,
                message,
                expiration=None,
                mandatory=mandatory,
            )
        )
        try:
            async with asyncio.timeout(_CONFIRMED_WITHIN):
                taken = await self._confirmed
        except (LinkLost, ChannelClosed) as exc:
            raise self._explained(exc) from exc
        except TimeoutError as exc:
            raise BrokerUnavailable(
                f"RabbitMQ has not confirmed the message for {_CONFIRMED_WITHIN:g} seconds. "
                "It may be short of memory or disk: see 'rabbitmqctl status'."
            ) from exc
        if self._returned:
            raise UmbelError(
                f"no queue is bound to exchange {exchange!r} with {routing_key!r}: the message "
                "was dropped."
            )
        if not taken:
            raise UmbelError("RabbitMQ did not take the message: a queue may be full.")

    async def ack(self, delivery_tag: int) -> None:
        """Acknowledge a message that :meth:`get` gave here."""
        channel = await self._open_channel()
        channel.write(contents.ack(channel.number, delivery_tag))
        # An acknowledgement has no answer but the end of the channel: what is said next shows.
        await self._call(commands.Basic.Qos(prefetch_count=0))

    async def _call(self, method: Frame) -> Reply:
        channel = await self._open_channel()
        try:
            return await channel.call(method)
        except (LinkLost, ChannelClosed) as exc:
            raise self._explained(exc) from exc

    async def _open_channel(self) -> Channel:
        try:
            link = await self._client.link()
            channel = self._channel
            if channel is None or channel.closed is not None or channel.link is not link:
                channel = self._channel = await link.channel(
                    Listener(
                        confirmed=lambda _tag, _multiple, taken: self._settle(taken),
                        returned=lambda _: self._note_return(),
                        closed=self._lose,
                    )
                )
                await channel.call(commands.Confirm.Select())
        except (LinkLost, ChannelClosed) as exc:
            raise self._explained(exc) from exc
        return channel

    def _settle(self, taken: bool) -> None:
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_result(taken)

    def _note_return(self) -> None:
        self._returned = True

    def _lose(self, reason: Exception) -> None:
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_exception(reason)

    def _explained(self, exc: LinkLost | ChannelClosed) -> Exception:
        if isinstance(exc, ChannelClosed):
            return UmbelError(f"RabbitMQ refuses ({exc.code}): {exc}")
        return self._client.lost(exc)
