"""One connection to a RabbitMQ: frames in and out, signs of life, channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from struct import Struct
from typing import Any, cast

from pamqp import commands, frame, heartbeat
from pamqp.base import Frame

from umbel.drivers.rabbitmq.channel import Channel, LinkLost, Listener, read_method
from umbel.protocols import Lifeline

__all__ = ["Link"]

_numbers = count(1)
_head_at = Struct(">BHI").unpack_from
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_HEARTBEAT_FRAME = heartbeat.Heartbeat().marshal()
_END = 0xCE
_BUFFER = 128 * 1024
"""Bytes read at once."""


class Link(asyncio.BufferedProtocol):
    """Speaks AMQP 0-9-1. Reading never waits for a caller; writing never waits at all, but
    :meth:`drained` says when the other end has caught up.

    Args:
        patience: Seconds that a question of a channel may stay unanswered.
        on_lost: Called once, when the connection is gone.
        on_blocked: Called with the reason when RabbitMQ takes no more messages, and with None
            when it does again.
    """

    def __init__(
        self,
        *,
        patience: float,
        on_lost: Callable[[Link], None],
        on_blocked: Callable[[str | None], None],
    ) -> None:
        self._number = next(_numbers)
        self.patience = patience
        self._on_lost = on_lost
        self._on_blocked = on_blocked
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._channels: dict[int, Channel] = {}
        self._next_number = 1
        # One for the life of the connection: asyncio.Protocol's transport makes a new one of twice
        # this size for each piece that arrives, which costs more than reading a confirmation.
        self._buffer = memoryview(bytearray(_BUFFER))
        self._rest = b""
        self._control: asyncio.Queue[Frame] = asyncio.Queue()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._interval = 0.0
        self._heard_at = 0.0
        self._beat_at = 0.0
        self._has_written = False
        self.frame_limit = 131_064
        """The most bytes of a body in one frame."""
        self.lost: str | None = None
        """Why the connection is gone; None while it stands."""
        self.code = 0
        """What RabbitMQ closed it with; 0 when it did not."""

    # For the handshake -------------------------------------------------------------------

    async def control(self) -> Frame:
        """The next method about the connection itself.

        Raises:
            LinkLost: It was that the connection ends, or it broke.
        """
        waiting = asyncio.ensure_future(self._control.get())
        try:
            both: list[asyncio.Future[Any]] = [waiting, self._gone]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
        finally:
            waiting.cancel()
        raise LinkLost(self.lost or "the server closed the connection")

    def say(self, method: Frame) -> None:
        """Send a method about the connection itself."""
        self.write(frame.marshal(method, 0))

    def tuned(self, frame_max: int, interval: float) -> None:
        """Agreed: the size of frames, and the seconds between two signs of life (0: none)."""
        if frame_max:
            self.frame_limit = frame_max - 8
        self._interval = interval
        self._heard_at = self._loop.time()
        if interval:
            self._beat_later()

    # For everyone -------------------------------------------------------------------------

    async def channel(self, listener: Listener | None = None) -> Channel:
        """A new channel.

        Raises:
            ChannelClosed: There are too many already.
            LinkLost: The connection broke.
        """
        while self._next_number in self._channels:
            self._next_number = self._next_number % 2000 + 1
        number = self._next_number
        self._next_number = number % 2000 + 1
        channel = Channel(self, number, listener or Listener())
        if self.lost is not None:
            channel.closed = LinkLost(self.lost)
        else:
            self._channels[number] = channel
        await channel.call(commands.Channel.Open())
        return channel

    def forget(self, channel: Channel) -> None:
        """Part of :class:`Channel`: it is closed."""
        if self._channels.get(channel.number) is channel:
            del self._channels[channel.number]

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is not None and self.lost is None:
            self._has_written = True
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until there is room for more, or the connection is gone."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    @property
    def lifeline(self) -> Lifeline | None:
        """How somebody else can say that this end lives.

        He must not do so in the middle of a frame. What is half sent now is seen here; should it
        be later, RabbitMQ closes a connection that was about to end anyway.
        """
        transport = self._transport
        if transport is None or self.lost is not None or not self._interval:
            return None
        if transport.get_extra_info("ssl_object") or transport.get_write_buffer_size():
            return None
        fd: int = transport.get_extra_info("socket").fileno()
        return Lifeline(self._number, fd, _HEARTBEAT_FRAME)

    def close(self, reason: str = "closed") -> None:
        """Drop the connection at once; whoever waits for something gets ``LinkLost``."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason)

    async def leave(self) -> None:
        """Say good-bye, and wait until the server has taken note."""
        if self.lost is None:
            self.say(commands.Connection.Close(200, "bye", 0, 0))
            try:
                while not isinstance(await self.control(), commands.Connection.CloseOk):
                    continue
            except LinkLost:
                # Gone without an answer, which is what was wanted.
                return
            finally:
                self.close()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, which takes one turn of the loop after :meth:`close`."""
        if self._transport is not None:
            await asyncio.shield(self._gone)

    # Part of asyncio.BufferedProtocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Part of ``asyncio.BufferedProtocol``."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        self._heard_at = self._loop.time()
        data = bytes(self._buffer[:nbytes])
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        channels = self._channels
        busy: Channel | None = None
        try:
            while end - at >= 8:
                kind, number, size = _head_at(data, at)
                start = at + 7
                stop = start + size
                if stop >= end:
                    break
                at = stop + 1
                if data[stop] != _END:
                    self.close("what came back is not AMQP 0-9-1")
                    return
                channel = channels.get(number)
                if channel is None:
                    self._apart(kind, number, data[start:stop])
                    continue
                if channel is not busy:
                    if busy is not None:
                        busy.rest()
                    busy = channel
                if kind == _METHOD:
                    channel.arrive_method(data, start, stop)
                elif kind == _HEADER:
                    channel.arrive_header(data[start:stop])
                elif kind == _BODY:
                    channel.arrive_body(data[start:stop])
            self._rest = data[at:]
            if busy is not None:
                busy.rest()
        except (LinkLost, IndexError) as exc:
            # After bytes that are not AMQP nothing that follows can be trusted.
            self.close(str(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        self._lose(str(exc) if exc is not None else "the server closed the connection")
        self._gone.set_result(None)

    def pause_writing(self) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)

    # Inside -----------------------------------------------------------------------------------

    def _apart(self, kind: int, number: int, payload: bytes) -> None:
        """A frame of no open channel: about the connection, a heartbeat, or for one just closed."""
        if number or kind != _METHOD:
            return
        method = read_method(payload)
        match method:
            case commands.Connection.Close():
                self.say(commands.Connection.CloseOk())
                self.code = method.reply_code or 0
                self.close(f"RabbitMQ closed it: {method.reply_text or method.reply_code}")
            case commands.Connection.Blocked():
                self._on_blocked(method.reason or "resources are low")
            case commands.Connection.Unblocked():
                self._on_blocked(None)
            case _:
                self._control.put_nowait(method)

    def _beat(self) -> None:
        """Show that we live, and see whether the other end does."""
        now = self._loop.time()
        if now - self._beat_at > self._interval / 2:
            # We stood still ourselves: what has come meanwhile may not have been read yet.
            self._heard_at = max(self._heard_at, now - self._interval)
        silent = now - self._heard_at
        if silent > 2 * self._interval:
            self.close(f"no sign of life for {silent:.0f} s")
            return
        if not self._has_written and self._transport is not None:
            self._transport.write(_HEARTBEAT_FRAME)
        self._has_written = False
        self._beat_later()

    def _beat_later(self) -> None:
        self._beat_at = self._loop.time() + self._interval / 2
        self._pulse = self._loop.call_at(self._beat_at, self._beat)

    def _lose(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        if self._pulse is not None:
            self._pulse.cancel()
        self.resume_writing()
        for channel in tuple(self._channels.values()):
            channel.lose(LinkLost(reason))
        self._on_lost(self)
