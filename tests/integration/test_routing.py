"""Workers that consume queues bound to exchanges, on every broker that has a table of bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from umbel import Broadcast, Exchange, Queue, Umbel
from umbel.exceptions import BatchError
from umbel.worker import Worker

from . import in_place

working = partial(in_place.working, pool="asyncio")

LOGS = Exchange("logs", "topic")
QUEUES = [
    Queue("errors", LOGS, "*.error"),
    Queue("web", LOGS, "web.#"),
    Queue("mail", Exchange("mail"), "mail"),
]


@asynccontextmanager
async def app_of(url: str, **settings: Any) -> AsyncIterator[Umbel]:
    app = Umbel("test", broker=url, backend=url, set_as_current=False, **settings)
    yield app
    await app.aclose()


def note_queues(app: Umbel) -> list[str]:
    """Defines ``note``, which says which queue it came by."""
    came_by: list[str] = []

    @app.task(name="note", bind=True)
    async def note(self: Any, text: str = "") -> None:
        came_by.append(f"{text}{self.request.delivery_info['routing_key']}")

    return came_by


async def test_a_worker_consumes_the_selected_topic_queues_only(url: str) -> None:
    routes = {"note": {"queue": "web", "routing_key": "web.info"}}
    async with app_of(url, task_queues=QUEUES, task_routes=routes) as app:
        came_by = note_queues(app)
        await app.asend_task("note")
        await app.asend_task("note", routing_key="web.error")
        await app.asend_task("note", routing_key="db.error", queue="errors")
        await app.asend_task("note", queue="mail")
        broker = await app.connections.broker()
        waiting = await broker.stats(["errors", "web", "mail"])

        async with working(app, queues="web,mail") as worker:
            await worker.settled(3)

        left = await broker.stats(["errors", "web", "mail"])

    assert {name: stats.ready for name, stats in waiting.items()} == {
        "errors": 2,
        "web": 2,
        "mail": 1,
    }
    assert sorted(came_by) == ["mail", "web.error", "web.info"]
    assert {name: stats.ready for name, stats in left.items()} == {"errors": 2, "web": 0, "mail": 0}


async def test_a_worker_leaves_the_excluded_queues_alone(url: str) -> None:
    async with app_of(url, task_queues=QUEUES) as app:
        came_by = note_queues(app)
        await app.asend_task("note", queue="mail")
        await app.asend_task("note", queue="web", routing_key="web.error")

        async with working(app, exclude_queues="web,mail") as worker:
            await worker.settled(1)
        broker = await app.connections.broker()
        left = await broker.stats(["web", "mail"])

    assert came_by == ["web.error"]
    assert {name: stats.ready for name, stats in left.items()} == {"web": 1, "mail": 1}


async def test_a_retry_may_go_to_another_queue(url: str) -> None:
    async with app_of(url, task_queues=QUEUES, task_routes={"again": "mail"}) as app:
        came_by: list[str] = []

        @app.task(name="again", bind=True)
        async def again(self: Any) -> None:
            came_by.append(self.request.delivery_info["routing_key"])
            if self.request.retries == 0:
                self.retry(queue="web", countdown=0)

        await again.adelay()
        async with working(app, queues="web,mail") as worker:
            await worker.settled(2)

    assert came_by == ["mail", "web.#"]


async def test_what_follows_a_task_is_routed_too(url: str) -> None:
    queues = [Queue("celery"), *QUEUES]
    async with app_of(url, task_queues=queues, task_routes={"note": "mail"}) as app:
        came_by = note_queues(app)

        @app.task(name="first")
        async def first() -> str:
            return "after first: "

        await first.aapply_async(link=app.signature("note"))
        async with working(app) as worker:
            await worker.settled(2)

    assert came_by == ["after first: mail"]


async def test_a_broadcast_reaches_every_worker_once(url: str) -> None:
    ran: list[str] = []
    async with AsyncExitStack() as stack:
        workers: list[Worker] = []
        for name in ("one", "two"):
            # Each process has queues of its own.
            app = await stack.enter_async_context(
                app_of(
                    url,
                    task_queues=[Broadcast("everyone")],
                    task_routes={"reload": {"queue": "everyone"}},
                )
            )

            def reload(name: str = name) -> None:
                ran.append(name)

            app.task(name="reload")(reload)
            options: dict[str, Any] = {"queues": "everyone", "hostname": name, "pool": "threads"}
            workers.append(await stack.enter_async_context(working(app, **options)))
        await app.asend_task("reload")
        await app.asend_task("reload")
        for worker in workers:
            await worker.settled(2)

    assert sorted(ran) == ["one", "one", "two", "two"]


async def test_headers_choose_the_queue(tmp_path: Path) -> None:
    by = Exchange("by", "headers")
    queues = [
        Queue("urgent", by, binding_arguments={"x-match": "all", "level": "high"}),
        Queue("rest", by, binding_arguments={"x-match": "all", "level": "low"}),
    ]
    async with app_of(f"memory://{tmp_path}", task_queues=queues) as app:
        await app.asend_task("any", queue="rest", headers={"level": "high"})
        await app.asend_task("any", queue="rest", headers={"level": "low"})
        await app.asend_task("any", queue="urgent", headers={"level": "high"})
        broker = await app.connections.broker()
        stats = await broker.stats(["urgent", "rest"])

    assert {name: stats.ready for name, stats in stats.items()} == {"urgent": 2, "rest": 1}


async def test_an_exchange_named_by_the_call_reaches_the_configured_queues(url: str) -> None:
    async with app_of(url, task_queues=QUEUES) as app:
        await app.asend_task("any", exchange=LOGS, routing_key="web.error")
        await app.asend_task("any", exchange="mail", routing_key="mail")
        broker = await app.connections.broker()
        stats = await broker.stats(["errors", "web", "mail"])

    assert {name: stats.ready for name, stats in stats.items()} == {
        "errors": 1,
        "web": 1,
        "mail": 1,
    }


async def test_a_broadcast_that_nobody_can_hear_is_refused(url: str) -> None:
    async with app_of(url, task_queues=[Broadcast("everyone")]) as app:
        with pytest.raises(BatchError, match="'everyone' has no queue bound"):
            await app.asend_task("reload", queue="everyone")
