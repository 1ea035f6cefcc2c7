"""Ports of the loopback."""

from __future__ import annotations

import socket
import time

__all__ = ["free_port", "says", "wait_for_port"]


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
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
