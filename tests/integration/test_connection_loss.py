"""A connection that is lost while tasks run."""

from __future__ import annotations

import asyncio

import pytest

from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.testing.servers import rabbitmq_server
from umbel.worker import Worker


async def test_what_runs_in_vain_after_a_lost_connection_is_ended_where_that_is_wanted() -> None:
    with rabbitmq_server() as server:
        app = Umbel("loss", broker=server.url(), backend="memory://", set_as_current=False)
        app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
        begun: asyncio.Queue[str] = asyncio.Queue()
        ended = asyncio.Event()
        gate = asyncio.Event()

        @app.task(acks_late=True)
        async def work() -> str:
            begun.put_nowait("late")
            try:
                await gate.wait()
            except asyncio.CancelledError:
                ended.set()
                raise
            return "done"

        @app.task
        async def spared() -> None:
            begun.put_nowait("early")
            await gate.wait()

        async with (
            asyncio.timeout(60),
            Worker(app, pool="asyncio", concurrency=10, quiet=True),
        ):
            result = await work.adelay()
            await spared.adelay()
            assert {await begun.get(), await begun.get()} == {"late", "early"}
            await asyncio.to_thread(server.control, "close_all_connections", "by a test")

            assert await begun.get() == "late"
            await ended.wait()
            gate.set()
            assert await result.aget(timeout=60) == "done"
        await app.aclose()


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_connection_max_retries": 2},
        {"broker_connection_retry": False},
        {"broker_connection_retry_on_startup": False},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_a_worker_that_is_not_to_insist_ends_when_there_is_no_broker(
    settings: dict[str, object],
) -> None:
    # Nobody listens on the port of "discard".
    app = Umbel("nobody", broker="redis://127.0.0.1:9/0", set_as_current=False, **settings)

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(30):
            await Worker(app, pool="solo", quiet=True).arun()

    assert caught.group_contains(OperationalError, match=r"127\.0\.0\.1:9")
