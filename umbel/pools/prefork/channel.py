"""What parent and child say to each other: frames over a Unix socket.

A frame is a header and a payload. Requests and outcomes travel as msgpack, a batch per frame;
bodies inside are bytes that nobody on the way looks at.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

import msgspec

from umbel.model import Outcome, Request

__all__ = [
    "BORN",
    "OUTCOMES",
    "READY",
    "REQUESTS",
    "RETURNED",
    "SPENT",
    "TAKEN",
    "FrameReader",
    "Link",
    "decode_keys",
    "decode_outcomes",
    "decode_requests",
    "encode",
    "frame",
]

REQUESTS: Final = 1
"""To the child: ``list[Request]``."""
READY: Final = 2
"""To the parent: the runner is open. No payload."""
OUTCOMES: Final = 3
"""To the parent: ``list[Outcome]``; the header says what they took together."""
RETURNED: Final = 4
"""To the parent: ``list[int]``, the keys of requests that will not be started here."""
SPENT: Final = 5
"""To the parent: it has grown too large, will start nothing more, and returns what it is given.
The payload is ``list[int]``: KiB that it has, KiB that it may have."""
BORN: Final = 6
"""To the parent: the interpreter and the program are there; the runner is opened next. The payload
is ``list[int]``, its process id: whoever forked it may tell later."""
TAKEN: Final = 7
"""To the parent: ``list[int]``, the keys of requests that run from now on, side by side."""

_HEADER = Struct("=QId")
_BUFFER = 64 * 1024
"""Bytes; a batch of a hundred small requests."""

encode = msgspec.msgpack.Encoder().encode
decode_requests = msgspec.msgpack.Decoder(list[Request]).decode
decode_outcomes = msgspec.msgpack.Decoder(list[Outcome]).decode
decode_keys = msgspec.msgpack.Decoder(list[int]).decode


def frame(kind: int, payload: bytes = b"", seconds: float = 0.0) -> bytes:
    """A frame, ready to be sent."""
    return _HEADER.pack(len(payload), kind, seconds) + payload


class FrameReader:
    """Cuts what a socket receives into frames, without copying them.

    ``on_frame(kind, seconds, payload)`` must be done with the payload when it returns: the
    buffer is used again.
    """

    def __init__(
        self, sock: socket.socket, on_frame: Callable[[int, float, memoryview], None]
    ) -> None:
        self._sock = sock
        self._on_frame = on_frame
        self._buffer = memoryview(bytearray(_BUFFER))
        self._filled = 0

    def read(self, flags: int = 0) -> bool:
        """Receive once, and pass on every frame that is now whole; False at the end.

        Raises:
            BlockingIOError: There is nothing to receive now (non-blocking sockets, or
                ``MSG_DONTWAIT`` among the ``flags``).
        """
        count = self._sock.recv_into(self._buffer[self._filled :], 0, flags)
        if not count:
            return False
        filled = self._filled + count
        start = 0
        buffer = self._buffer
        needed = _HEADER.size
        while filled - start >= _HEADER.size:
            length, kind, seconds = _HEADER.unpack_from(buffer, start)
            needed = _HEADER.size + length
            if filled - start < needed:
                break
            self._on_frame(kind, seconds, buffer[start + _HEADER.size : start + needed])
            start += needed
            needed = _HEADER.size
        self._keep(start, filled, needed)
        return True

    def _keep(self, start: int, filled: int, needed: int) -> None:
        """Move the beginning of an unfinished frame to the front, where all of it has room."""
        rest = self._buffer[start:filled]
        size = max(needed, _BUFFER)
        if len(self._buffer) != size:
            grown = memoryview(bytearray(size))
            grown[: len(rest)] = rest
            self._buffer = grown
        elif start:
            self._buffer[: len(rest)] = rest
        self._filled = len(rest)


class Link:
    """The parent's end of a channel, on an event loop. Never blocks.

    Not an asyncio transport: after a child's death what it had sent must be read at once and
    to the last byte, before anything is decided about its requests.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_frame: Callable[[int, float, memoryview], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._reader = FrameReader(sock, on_frame)
        self._on_end = on_end
        self._unsent = bytearray()
        self._ended = False
        self._closed = False
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes) -> None:
        """Send now what goes at once, and the rest when there is room."""
        if self._closed:
            return
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The other end is gone; reading will say so.
                return
            if sent == len(data):
                return
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._sock.fileno(), self._writable)
        else:
            self._unsent += data

    def finish(self) -> None:
        """Tell the other end that nothing more comes."""
        if not self._closed:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                # The other end was faster.
                return

    def drain(self) -> None:
        """Read everything that is there; for when the other end is dead."""
        while not self._ended:
            try:
                self._ended = not self._reader.read()
            except (BlockingIOError, ConnectionError):
                return

    def close(self) -> None:
        """Let go of the socket."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        try:
            if self._reader.read():
                return
        except BlockingIOError:
            return
        except ConnectionError:
            # Died with unread requests in its socket: the same as the end.
            pass
        self._ended = True
        self._loop.remove_reader(self._sock.fileno())
        self._on_end()

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        else:
            del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())
