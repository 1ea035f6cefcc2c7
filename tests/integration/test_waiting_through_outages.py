"""Who waits for a result goes on waiting while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from umbel import Umbel
from umbel.exceptions import BackendClosed, BackendUnavailable
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result import ResultSet
from umbel.testing.servers import RedisServer, redis_server


class Ended(msgspec.Struct):
    """What a result record needs to know of a call."""

    id: str
    group_id: str | None = None
    parent_id: str | None = None


@pytest.fixture
def server() -> Iterator[RedisServer]:
    # So that what is stored survives the outage.
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
async def app(server: RedisServer) -> AsyncIterator[Umbel]:
    app = Umbel("shop", broker=server.url(), backend=server.url(), set_as_current=False)
    await app.connections.backend()
    yield app
    await app.aclose()
    await asyncio.to_thread(app.close)


async def succeed(app: Umbel, *ids: str) -> None:
    backend = await app.connections.backend()
    await backend.store([app.codec.succeeded(Ended(id_), f"{id_}!") for id_ in ids])


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.name == "umbel.result.outages"]


def many(app: Umbel, *ids: str) -> ResultSet:
    return ResultSet([app.AsyncResult(id_) for id_ in ids], app=app)


WAYS: dict[str, Callable[[Umbel], Any]] = {
    "async": lambda app: app.AsyncResult("a").aget(timeout=60),
    "blocking": lambda app: asyncio.to_thread(app.AsyncResult("a").get, timeout=20),
    "no timeout": lambda app: app.AsyncResult("a").aget(),
    "set": lambda app: asyncio.to_thread(many(app, "a").join, timeout=20),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_result_arrives_after_an_outage_that_is_told_of_once(
    app: Umbel, server: RedisServer, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "umbel.result")
    # Reached before, in whichever thread it is that waits.
    assert await asyncio.to_thread(lambda: app.AsyncResult("z").state) == "PENDING"
    waiting = asyncio.ensure_future(WAYS[way](app))
    await until(lambda: b"celery-task-meta-a" in channels(server))

    server.kill()
    await until(lambda: said(caplog) == ["WARNING"])
    # Several rounds of attempts.
    await asyncio.sleep(1.5)
    await asyncio.to_thread(server.start)
    await succeed(app, "a")

    assert await waiting in ("a!", ["a!"])
    assert said(caplog) == ["WARNING", "INFO"]


async def test_what_was_stored_before_is_found_by_who_begins_to_wait_in_an_outage(
    app: Umbel, server: RedisServer
) -> None:
    await succeed(app, "a", "b")
    server.kill()
    one = asyncio.ensure_future(app.AsyncResult("a").aget(timeout=60))
    two = asyncio.ensure_future(many(app, "a", "b").aget(timeout=60))
    await asyncio.sleep(1)
    assert not one.done()
    assert not two.done()
    await asyncio.to_thread(server.start)

    assert await one == "a!"
    assert await two == ["a!", "b!"]


async def test_the_time_limit_holds_in_an_outage_and_says_why_nothing_came(
    app: Umbel, server: RedisServer
) -> None:
    server.kill()
    for waiting in (
        app.AsyncResult("a").aget(timeout=1.5),
        many(app, "a", "b").aget(timeout=1.5),
    ):
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match=r"not ready in 1\.5 s.*backend is away") as caught:
            await waiting
        assert 1.4 < time.monotonic() - began < 5
        assert isinstance(caught.value.__cause__, BackendUnavailable)


async def test_who_waits_is_told_at_once_when_the_app_is_closed(app: Umbel) -> None:
    one = asyncio.ensure_future(app.AsyncResult("a").aget(timeout=60))
    two = asyncio.ensure_future(many(app, "a", "b").aget(timeout=60))
    await asyncio.sleep(0.2)
    await app.aclose()

    async with asyncio.timeout(30):
        for waiting in (one, two):
            with pytest.raises(BackendClosed, match="closed while it was watched"):
                await waiting


def channels(server: RedisServer) -> bytes:
    """The channels that somebody listens to."""
    import socket

    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(b"PUBSUB CHANNELS *\r\n")
        return connection.recv(4096)


async def test_looking_is_tried_again_if_the_settings_say_so(
    app: Umbel, server: RedisServer
) -> None:
    def look() -> str:
        return app.AsyncResult("a").state

    await succeed(app, "a")
    assert await asyncio.to_thread(look) == "SUCCESS"
    server.kill()
    with pytest.raises(BackendUnavailable):
        await asyncio.to_thread(look)

    app.conf.result_backend_always_retry = True
    looking = asyncio.ensure_future(asyncio.to_thread(look))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.start)
    assert await looking == "SUCCESS"

    server.kill()
    app.conf.result_backend_max_retries = 2
    with pytest.raises(BackendUnavailable):
        await asyncio.to_thread(look)
