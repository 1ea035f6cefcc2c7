"""One channel of a connection: calls and their replies in order, contents put together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from pamqp import commands, frame
from pamqp.base import Frame
from pamqp.exceptions import UnmarshalingException

from umbel.drivers.rabbitmq.contents import ACK, DELIVER, NACK

if TYPE_CHECKING:
    from umbel.drivers.rabbitmq.link import Link

__all__ = ["Arrived", "Channel", "ChannelClosed", "LinkLost", "Listener", "Reply", "read_method"]

_long_at = Struct(">Q").unpack_from
_size_at = Struct(">Q").unpack_from


class LinkLost(Exception):
    """The connection is gone; what became of what was sent is unknown."""


class ChannelClosed(Exception):
    """RabbitMQ closed the channel because of something done on it."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        """404: there is no such thing; 405: it is someone else's; 406: it is different."""
        super().__init__(text)


class Arrived(msgspec.Struct):
    """A message as it came, unread."""

    consumer: str
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    header: bytes = b""
    body: bytes = b""


Reply: TypeAlias = Frame | Arrived
"""What answers a call: a method, or the message that ``basic.get`` asks for."""


class Listener(msgspec.Struct):
    """Who hears what a channel says unasked."""

    delivered: Callable[[Arrived], None] = lambda _: None
    rest: Callable[[], None] = lambda: None
    """Called once all that arrived in one piece has been delivered."""
    confirmed: Callable[[int, bool, bool], None] = lambda _tag, _multiple, _taken: None
    """Told of tag, whether all up to it are meant, and whether they are in safe hands."""
    returned: Callable[[Arrived], None] = lambda _: None
    cancelled: Callable[[str], None] = lambda _: None
    """Told of the tag of a consumer whose queue has gone."""
    closed: Callable[[Exception], None] = lambda _: None


def read_method(data: bytes) -> Frame:
    """The method in a frame.

    Raises:
        LinkLost: It is none.
    """
    # pamqp reads whole frames; this one has been taken apart already.
    whole = b"\x01\x00\x00" + len(data).to_bytes(4) + data + b"\xce"
    try:
        method = frame.unmarshal(whole)[2]
    except (UnmarshalingException, ValueError, IndexError) as exc:
        raise LinkLost(f"what came back is not AMQP 0-9-1: {exc}") from exc
    if not isinstance(method, Frame):
        raise LinkLost("what came back is not AMQP 0-9-1")
    return method


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    return raw.decode(errors="replace")


class Channel:
    """Made by :meth:`Link.channel`, usable once ``channel.open`` has been answered."""

    def __init__(self, link: Link, number: int, listener: Listener) -> None:
        self.link = link
        self.number = number
        self._listener = listener
        self._replies: deque[asyncio.Future[Reply]] = deque()
        self._content: Arrived | None = None
        self._missing = -1
        """Bytes of the body still to come; -1: the header has not come yet."""
        self._chunks: list[bytes] = []
        self._complete: Callable[[Arrived], None] = listener.delivered
        """Who gets the message that is coming in."""
        self.closed: Exception | None = None
        """Why it is closed; None while it is open."""

    def write(self, frames: bytes) -> None:
        """Send frames that have no answer."""
        if self.closed is None:
            self.link.write(frames)

    def begin(self, *methods: Frame) -> list[asyncio.Future[Reply]]:
        """Send methods in one write; a future for the reply to each."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Reply]] = []
        for _ in methods:
            future: asyncio.Future[Reply] = loop.create_future()
            future.add_done_callback(_forget)
            futures.append(future)
            if self.closed is not None:
                future.set_exception(self.closed)
        if self.closed is None:
            self._replies.extend(futures)
            self.link.write(b"".join([frame.marshal(method, self.number) for method in methods]))
        return futures

    async def call(self, *methods: Frame) -> Reply:
        """Send methods in one write; the reply to the last one.

        Raises:
            ChannelClosed: RabbitMQ refused one of them.
            LinkLost: The connection broke before the last reply; or it was given up, because a
                reply did not come: behind it, everything would wait for ever.
        """
        *others, last = self.begin(*methods)
        for future in others:
            await self._in_time(future)
        return await self._in_time(last)

    async def _in_time(self, future: asyncio.Future[Reply]) -> Reply:
        try:
            async with asyncio.timeout(self.link.patience):
                return await asyncio.shield(future)
        except TimeoutError as exc:
            why = f"it has left a question unanswered for {self.link.patience:g} s"
            self.link.close(why)
            raise LinkLost(why) from exc

    def arrive_method(self, data: bytes, start: int, stop: int) -> None:
        """Part of :class:`Link`: a method frame has come."""
        index = int.from_bytes(data[start : start + 4])
        if index == DELIVER:
            at = start + 5 + data[start + 4]
            consumer = _name(data[start + 5 : at])
            end = at + 10 + data[at + 9]
            exchange = _name(data[at + 10 : end])
            self._content = Arrived(
                consumer,
                _long_at(data, at)[0],
                data[at + 8] != 0,
                exchange,
                _name(data[end + 1 : stop]),
            )
            self._complete = self._listener.delivered
            self._missing = -1
        elif index in {ACK, NACK}:
            bits = data[start + 12]
            self._listener.confirmed(_long_at(data, start + 4)[0], bits & 1 != 0, index == ACK)
        else:
            self._arrive_rare(read_method(data[start:stop]))

    def arrive_header(self, data: bytes) -> None:
        """Part of :class:`Link`: a content header has come."""
        if self._content is None:
            raise LinkLost("what came back is not AMQP 0-9-1: content without a method")
        self._content.header = data
        (self._missing,) = _size_at(data, 4)
        self._chunks = []
        if not self._missing:
            self._finish()

    def arrive_body(self, data: bytes) -> None:
        """Part of :class:`Link`: (a part of) a body has come."""
        self._chunks.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            self._finish()

    def rest(self) -> None:
        """Part of :class:`Link`: that was all for now."""
        self._listener.rest()

    def lose(self, reason: Exception) -> None:
        """It is gone: whoever waits hears why."""
        if self.closed is not None:
            return
        self.closed = reason
        self.link.forget(self)
        replies, self._replies = self._replies, deque()
        for future in replies:
            if not future.done():
                future.set_exception(reason)
        self._listener.closed(reason)

    def _finish(self) -> None:
        content, self._content = self._content, None
        if content is None or self._missing < 0:
            raise LinkLost("what came back is not AMQP 0-9-1: a body that nobody announced")
        chunks = self._chunks
        content.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._complete(content)

    def _answer(self, reply: Reply) -> None:
        if not self._replies:
            raise LinkLost("RabbitMQ answers what nobody asked")
        future = self._replies.popleft()
        if not future.done():
            future.set_result(reply)

    def _arrive_rare(self, method: Frame) -> None:
        match method:
            case commands.Channel.Close():
                self.link.write(frame.marshal(commands.Channel.CloseOk(), self.number))
                self.lose(ChannelClosed(method.reply_code or 0, method.reply_text or ""))
            case commands.Basic.Cancel():
                self._listener.cancelled(method.consumer_tag or "")
            case commands.Channel.Flow():
                # RabbitMQ never asks for it; the answer is what the standard wants.
                self.link.write(frame.marshal(commands.Channel.FlowOk(method.active), self.number))
            case commands.Basic.Return():
                self._content = Arrived("", 0, False, method.exchange, method.routing_key or "")
                self._complete = self._listener.returned
                self._missing = -1
            case commands.Basic.GetOk():
                self._content = Arrived(
                    "",
                    method.delivery_tag or 0,
                    method.redelivered,
                    method.exchange,
                    method.routing_key or "",
                )
                self._complete = self._answer
                self._missing = -1
            case _:
                self._answer(method)


def _forget(future: asyncio.Future[Reply]) -> None:
    """Take note of an exception nobody waits for, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
