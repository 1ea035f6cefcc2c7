"""Ports of the loopback."""

from __future__ import annotations

import secrets
import socket
import time

__all__ = ["free_port", "says", "wait_for_port"]


_PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: none of them takes a server's port
while it is being restarted, and none is connected to itself."""


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def says(port: int, greeting: bytes) -> bytes:
    """The beginning of what a server answers to a greeting; nothing where there is no server."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(greeting)
            return connection.recv(64)
    except OSError:
        return b""


def wait_for_port(port: int, seconds: float) -> None:
    """Wait until somebody takes connections.

    Raises:
        OSError: Nobody does in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
