"""One connection to a Redis: commands out in batches, replies back in order, pushes aside."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis

__all__ = ["Link", "LinkLost", "Push", "Reply", "join", "pack"]

Reply = Any
"""What Redis answers: bytes, int, float, None, list, dict, or a ``hiredis.ReplyError``."""
Push = list[Any]
"""What Redis says unasked: ``[b"message", channel, payload]``, ``[b"invalidate", keys]``."""

_MORE: Final = object()


_BUFFER = 256 * 1024
"""Bytes read at once."""


_PING = b"*1\r\n$4\r\nPING\r\n"


class LinkLost(Exception):
    """The connection is gone; whether Redis ran what was sent is unknown."""


def pack(*command: str | bytes | float) -> bytes:
    r"""One command as Redis reads it.

    >>> pack("GET", "key")
    b'*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n'
    """
    return cast("bytes", hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub asks for a 1-tuple


class _Batch:
    """Commands written together, whose replies come together."""

    __slots__ = ("future", "missing", "replies", "sent_at")

    def __init__(self, future: asyncio.Future[list[Reply]], missing: int, sent_at: float) -> None:
        self.future = future
        self.missing = missing
        self.replies: list[Reply] = []
        self.sent_at = sent_at


class Link(asyncio.BufferedProtocol):
    """Speaks RESP3. Never waits for a caller: a reply nobody wants any more is read and dropped,
    so that a cancelled caller cannot shift the replies of the others."""

    def __init__(
        self,
        *,
        on_push: Callable[[Push], None],
        on_lost: Callable[[Link], None],
        reply_timeout: float,
        health_interval: float,
    ) -> None:
        self._on_push = on_push
        self._on_lost = on_lost
        self._reply_timeout = reply_timeout
        self._health_interval = health_interval
        self._health_check: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        # One for the life of the connection: asyncio.Protocol's transport makes a new one of
        # this size for each piece that arrives, which costs more than reading a short reply.
        buffer = bytearray(_BUFFER)
        # A view, since asyncio reads encrypted connections into slices of it: those of an array
        # are copies.
        self._buffer = memoryview(buffer)
        # hiredis takes any buffer; its types know only of bytes.
        self._arrived = cast("bytes", buffer)
        self._batches: deque[_Batch] = deque()
        self._transport: asyncio.Transport | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.lost: str | None = None
        """Why the connection is gone; None while it stands."""

    def send(self, packed: bytes, replies: int) -> asyncio.Future[list[Reply]]:
        """Write commands in one piece; the future yields their ``replies`` replies.

        Raises (the future):
            LinkLost: The connection broke before the last reply.
        """
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self.lost is not None or self._transport is None:
            future.set_exception(LinkLost(self.lost or "not connected"))
            return future
        self._transport.write(packed)
        if not replies:
            future.set_result([])
            return future
        self._batches.append(_Batch(future, replies, self._loop.time()))
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._reply_timeout, self._look_for_silence)
        return future

    def close(self, reason: str = "closed") -> None:
        """Drop the connection at once; whoever waits for a reply gets ``LinkLost``."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason)

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, which takes one turn of the loop after :meth:`close`."""
        if self._transport is not None:
            await asyncio.shield(self._gone)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._heard_at = self._loop.time()
        self._plan_health_check(self._health_interval)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Part of ``asyncio.BufferedProtocol``."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        reader = self._reader
        self._heard_at = self._loop.time()
        try:
            reader.feed(self._arrived, 0, nbytes)
            while (reply := reader.gets()) is not _MORE:
                if type(reply) is hiredis.PushNotification:
                    self._on_push(reply)
                    continue
                batch = self._batches[0]
                batch.replies.append(reply)
                batch.missing -= 1
                if not batch.missing:
                    self._batches.popleft()
                    if not batch.future.done():
                        batch.future.set_result(batch.replies)
        except (hiredis.ProtocolError, IndexError) as exc:
            # After bytes that are not RESP, or a reply to nothing, no later reply can be trusted.
            self.close(f"what came back is not Redis' protocol: {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of ``asyncio.BufferedProtocol``."""
        self._lose(str(exc) if exc is not None else "the server closed the connection")
        self._gone.set_result(None)

    def _lose(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._health_check is not None:
            self._health_check.cancel()
        for batch in self._batches:
            if not batch.future.done():
                batch.future.set_exception(LinkLost(reason))
        self._batches.clear()
        self._on_lost(self)

    def _plan_health_check(self, seconds: float) -> None:
        if self._health_interval > 0:
            self._health_check = self._loop.call_later(seconds, self._check_health)

    def _check_health(self) -> None:
        """Ask an idle connection whether it still stands: one that has died without a word is
        found out before somebody needs it, and while somebody only listens to it."""
        idle = self._loop.time() - self._heard_at
        if idle < self._health_interval or self._batches:
            self._plan_health_check(max(self._health_interval - idle, 1.0))
            return
        self.send(_PING, 1).add_done_callback(_forget)
        self._plan_health_check(self._health_interval)

    def _look_for_silence(self) -> None:
        """Drop a connection whose other end has stopped answering without closing it."""
        self._watchdog = None
        if not self._batches:
            return
        silent_since = max(self._batches[0].sent_at, self._heard_at)
        remaining = silent_since + self._reply_timeout - self._loop.time()
        if remaining <= 0:
            self.close(f"no reply for {self._reply_timeout:g} s")
        else:
            self._watchdog = self._loop.call_later(remaining, self._look_for_silence)


def _forget(future: asyncio.Future[list[Reply]]) -> None:
    """Whether it was lost, its users are told otherwise."""
    if not future.cancelled():
        future.exception()


def join(commands: Sequence[Sequence[str | bytes | int | float]]) -> bytes:
    """Several commands as Redis reads them."""
    return b"".join([pack(*command) for command in commands])
