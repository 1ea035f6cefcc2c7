"""Queues that are added and cancelled while a worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import umbel.exceptions
from umbel import Umbel
from umbel.worker import Worker
from umbel.worker.fetching import intake


@pytest.fixture(params=["memory", "sqlite", "redis", "rabbitmq"])
async def app(
    request: pytest.FixtureRequest, url_of: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Umbel]:
    """An app with a broker of its own."""
    async with an_app(url_of(request.param), f"memory://{tmp_path}") as app:
        yield app


@asynccontextmanager
async def an_app(broker: str, backend: str) -> AsyncIterator[Umbel]:
    app = Umbel("test", broker=broker, backend=backend, set_as_current=False)
    yield app
    await app.aclose()


@asynccontextmanager
async def working(app: Umbel, **options: Any) -> AsyncIterator[Worker]:
    given = {"pool": "asyncio", "concurrency": 10, "quiet": True, **options}
    async with asyncio.timeout(200), Worker(app, **given) as worker:
        yield worker


async def test_a_queue_is_consumed_as_soon_as_it_is_added_and_no_more_when_cancelled(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it waits for is the queue it consumes already, and would be for so long.
    monkeypatch.setattr(intake, "_WAIT", 300.0)

    @app.task
    async def work(number: int) -> int:
        return number

    async with working(app) as worker:
        await worker.add_consumer("extra")
        await worker.add_consumer("extra")
        assert await (await work.aapply_async((1,), queue="extra")).aget(timeout=40) == 1

        worker.cancel_consumer("extra")
        worker.cancel_consumer("extra")
        left = await work.aapply_async((2,), queue="extra")
        assert await (await work.adelay(3)).aget(timeout=60) == 3
        with pytest.raises(umbel.exceptions.TimeoutError):
            await left.aget(timeout=0.2)

        await worker.add_consumer("extra")
        assert await left.aget(timeout=60) == 2


async def test_a_worker_without_queues_waits_for_one(app: Umbel) -> None:
    @app.task
    async def work(number: int) -> int:
        return number

    async with working(app) as worker:
        worker.cancel_consumer("celery")
        waiting = await work.adelay(1)
        # Long enough for a turn of every loop; a worker that spins would fail the timeout below.
        await asyncio.sleep(0.1)
        assert worker.state.settled == 0

        await worker.add_consumer("celery")
        assert await waiting.aget(timeout=60) == 1


async def test_an_added_queue_is_bound_as_it_is_told(app: Umbel) -> None:
    @app.task
    async def work(number: int) -> int:
        return number

    async with working(app) as worker:
        await worker.add_consumer(
            "news", exchange="topics", exchange_type="topic", routing_key="news.#"
        )
        sent = await work.aapply_async(
            (1,), exchange="topics", exchange_type="topic", routing_key="news.sports"
        )

        assert await sent.aget(timeout=60) == 1
