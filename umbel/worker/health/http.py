"""``/livez`` and ``/readyz`` over HTTP, for orchestrators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import msgspec

from umbel.exceptions import ImproperlyConfigured

__all__ = ["Health", "serving"]

_PATIENCE = 5.0
"""Seconds that a client has for its request."""
_LARGEST = 8192
"""Bytes of a request that are read."""


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is answered, as JSON."""

    status: str
    """``ok``, or why not."""
    hostname: str
    active: int
    """How many tasks run or are next in line here."""
    settled: int
    """How many messages are done with."""


@asynccontextmanager
async def serving(
    host: str,
    port: int,
    *,
    live: Callable[[], Health],
    ready: Callable[[], Health],
) -> AsyncGenerator[int]:
    """Answer as long as the context lasts; gives the port, which is a free one for 0.

    ``/livez`` is answered with 200 for as long as the loop turns; ``/readyz`` with 503 when the
    status is not ``ok``.

    Raises:
        ImproperlyConfigured: Nobody can listen there; says why.
    """
    answers = {"/livez": live, "/readyz": ready}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever asks may go away at any moment.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                writer.write(_response(await _request(reader), answers))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_LARGEST)
    except OSError as error:
        raise ImproperlyConfigured(
            f"worker_health_port: cannot listen on {host}:{port}: {error.strerror or error}. "
            f"Use a free port, and another one for each worker on this machine."
        ) from error
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Method and path; the headers are read and forgotten."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    return method, target.partition("?")[0]


def _response(request: tuple[str, str], answers: dict[str, Callable[[], Health]]) -> bytes:
    method, path = request
    answer = answers.get(path)
    body = b""
    if answer is None:
        status = HTTPStatus.NOT_FOUND
    elif method not in {"GET", "HEAD"}:
        status = HTTPStatus.METHOD_NOT_ALLOWED
    else:
        health = answer()
        status = HTTPStatus.OK if health.status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        body = msgspec.json.encode(health) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n"
        f"Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
