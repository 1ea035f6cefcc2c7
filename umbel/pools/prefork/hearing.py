"""What a child says outside of its work: why it ends, and where it is."""

from __future__ import annotations

import asyncio
import socket

__all__ = ["Hearing"]

_KEPT = 65536
"""Bytes."""


class Hearing:
    """Reads a control channel as it is written to: a child that writes its stack must not wait
    for room."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._said = bytearray()
        self._heard = 0
        loop.add_reader(sock.fileno(), self._listen)

    def tell(self, order: bytes) -> None:
        """Send an order; whether it arrives is seen elsewhere."""
        try:
            self._sock.send(order)
        except OSError:
            # It is dead; what becomes of its requests is decided when its end is reported.
            return

    def words(self) -> str:
        """What it has said since this was asked last."""
        said = self._said.decode("utf-8", "replace").strip()
        self._said.clear()
        return said

    @property
    def is_speaking(self) -> bool:
        """Whether it has said nothing yet, or something since this was asked last."""
        size, self._heard = self._heard, len(self._said)
        return size != self._heard or not size

    def close(self) -> None:
        """Read what is there, and stop."""
        while self._listen():
            pass
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _listen(self) -> bool:
        try:
            said = self._sock.recv(_KEPT)
        except BlockingIOError:
            return False
        except ConnectionError:
            said = b""
        self._said += said[: max(0, _KEPT - len(self._said))]
        if not said:
            self._loop.remove_reader(self._sock.fileno())
        return bool(said)
