"""Connections that die without a word, and servers that come and go: work goes on by itself."""

from __future__ import annotations

import asyncio
import gc
import resource
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.measured import LONG
from umbel import Umbel
from umbel.drivers.redis.options import ClientOptions
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RedisServer, redis_server
from umbel.worker import Worker

SHORT = {"health_check_interval": 2, "socket_timeout": 3}
NOTICED_WITHIN = 30.0 if LONG else 40.0
"""Seconds after which a connection whose packets are all dropped is replaced by another."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@asynccontextmanager
async def working(url: str, **settings: Any) -> AsyncIterator[tuple[Umbel, Worker]]:
    app = Umbel("test", broker=url, backend=url, set_as_current=False)
    app.conf.update(settings)

    @app.task(name="add", acks_late=True)
    async def add(x: int, y: int) -> int:
        return x + y

    try:
        async with Worker(app, pool="asyncio", concurrency=10, quiet=True) as worker:
            yield app, worker
    finally:
        await app.aclose()


def test_a_half_open_connection_is_noticed_within_half_a_minute_by_default() -> None:
    """What the next test measures, when it is given the time."""
    # With time to connect again, and to do what waits, on a machine that is busy.
    assert ClientOptions().health_interval + ClientOptions().reply_timeout <= 20


@pytest.mark.slow
async def test_a_half_open_connection_is_noticed_by_worker_client_and_whoever_waits(
    server: RedisServer,
) -> None:
    with Proxy(server.port) as wire:
        url = f"redis://127.0.0.1:{wire.port}/0"
        options = {} if LONG else SHORT
        async with working(
            url, broker_transport_options=options, result_backend_transport_options=options
        ) as (app, _):
            assert await (await app.asend_task("add", (1, 1))).aget(timeout=60) == 2
            # Somebody waits for a result that comes after the silence.
            waiter = app.AsyncResult("awaited")
            waiting = asyncio.create_task(waiter.aget(timeout=90))
            await asyncio.sleep(0.1)

            lost = wire.connections
            # The connections that stand go silent; new ones would be made, if anybody tried.
            wire.forget()
            started = time.monotonic()
            outside = Umbel("outside", broker=server.url(), backend=server.url())
            await outside.asend_task("add", (20, 22), task_id="awaited")

            assert await waiting == 42
            elapsed = time.monotonic() - started
            # The client's own connections were silent too: sending works all the same.
            assert await (await app.asend_task("add", (1, 2))).aget(timeout=40) == 3
            await outside.aclose()

    assert lost >= 3
    assert elapsed < NOTICED_WITHIN


@pytest.mark.slow
async def test_a_worker_goes_on_within_seconds_of_a_killed_servers_return(
    server: RedisServer,
) -> None:
    """Five times in a row, under load, and nothing grows."""
    confirmed: list[str] = []
    over = threading.Event()

    def produce() -> None:
        with Umbel("producer", broker=server.url(), backend=server.url()) as sender:
            sender.conf.task_publish_retry_policy = {"max_retries": None, "interval_max": 0.2}
            while not over.is_set():
                confirmed.append(sender.send_task("add", (len(confirmed), 0)).id)
                time.sleep(0.002)

    async with asyncio.timeout(100), working(server.url(), worker_lease=3) as (app, worker):
        producer = threading.Thread(target=produce)
        producer.start()
        returns: list[float] = []
        figures: list[tuple[int, int]] = []
        try:
            for _ in range(5):
                await worker.settled(worker.state.settled + 20)
                server.kill()
                await asyncio.to_thread(time.sleep, 1.0)
                await asyncio.to_thread(server.start)
                back = time.monotonic()
                await worker.settled(worker.state.settled + 1)
                returns.append(time.monotonic() - back)
                gc.collect()
                figures.append((len([*Path("/proc/self/fd").iterdir()]), rss()))
        finally:
            over.set()
            await asyncio.to_thread(producer.join)
        backend = await app.connections.backend()
        async with asyncio.timeout(40):
            while len(await backend.load(confirmed)) < len(confirmed):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    assert len(confirmed) > 100
    assert max(returns) < 5, returns
    assert figures[-1][0] <= figures[0][0] + 2, figures
    # Megabytes; results of some hundred tasks are kept meanwhile.
    assert figures[-1][1] <= figures[0][1] + 20, figures


def rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20
