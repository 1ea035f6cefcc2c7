"""Celery's results read by us, ours by Celery, on the same Redis."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import celery
import pytest
import redis as redis_py
from celery.result import GroupResult

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.model import GroupRecord, ResultRecord
from umbel.wire.results import ResultCodec

# Celery's, about redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


class Finished:
    """As much of a request as its result names."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.group_id = None
        self.parent_id = None


def celery_app(url: str, **settings: object) -> Any:
    app = celery.Celery("peer", broker=url, backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


def close(app: Any) -> None:
    app.backend.result_consumer.stop()
    app.backend.client.close()
    app.close()


async def test_celery_gets_our_result_while_it_waits(
    backend: RedisBackend, redis_url: str, server: redis_py.Redis
) -> None:
    app = celery_app(redis_url)
    waiting = asyncio.create_task(asyncio.to_thread(app.AsyncResult("one").get, timeout=10))
    async with asyncio.timeout(30):
        while not server.pubsub_channels("celery-task-meta-one"):  # noqa: ASYNC110 - Celery's side
            await asyncio.sleep(0.005)

    await backend.store([ResultCodec().succeeded(Finished("one"), {"x": [1, 2]})])

    assert await waiting == {"x": [1, 2]}
    close(app)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib"])
async def test_we_see_the_state_of_what_celery_stored(
    serializer: str, compression: str | None, backend: RedisBackend, redis_url: str
) -> None:
    app = celery_app(
        redis_url,
        result_serializer=serializer,
        result_compression=compression,
        accept_content=["json", "pickle", "yaml", "msgpack"],
    )

    def store() -> None:
        app.backend.store_result("done", {"status": "STARTED"}, "SUCCESS")
        app.backend.store_result("bad", ValueError("no"), "FAILURE")
        app.backend.store_result("busy", {"pid": 1}, "STARTED")

    await asyncio.to_thread(store)
    late = {name: json.dumps({"status": "STARTED"}).encode() for name in ("done", "bad", "busy")}
    await backend.store(
        [ResultRecord(id=name, state="STARTED", body=body) for name, body in late.items()]
    )

    loaded = await backend.load(["done", "bad", "busy"])

    assert {name: each.state for name, each in loaded.items()} == {
        "done": "SUCCESS",
        "bad": "FAILURE",
        "busy": "STARTED",
    }
    assert loaded["busy"].body == late["busy"]
    close(app)


async def test_a_watch_hears_celerys_workers(backend: RedisBackend, redis_url: str) -> None:
    app = celery_app(redis_url)
    async with backend.watch(["one"]) as changes, asyncio.timeout(30):
        await asyncio.to_thread(app.backend.store_result, "one", 42, "SUCCESS")
        (record,) = await anext(changes)

    assert ResultCodec().read(record).result == 42
    close(app)


async def test_celery_reads_our_failures_and_groups(backend: RedisBackend, redis_url: str) -> None:
    codec = ResultCodec()
    body = b'{"result": [["g", null], [[["one", null], null], [["two", null], null]]]}'
    await backend.store_groups([GroupRecord(id="g", body=body, expires_at=time.time() + 60)])
    await backend.store(
        [
            codec.failed(Finished("one"), KeyError("gone"), "Traceback"),
            codec.succeeded(Finished("two"), 2),
        ]
    )
    app = celery_app(redis_url)

    def read() -> tuple[Any, ...]:
        group = GroupResult.restore("g", backend=app.backend, app=app)
        first, second = group.results
        return group.id, first.state, first.result, second.get(timeout=60)

    group_id, state, error, value = await asyncio.to_thread(read)

    assert (group_id, state, value) == ("g", "FAILURE", 2)
    assert isinstance(error, KeyError)
    close(app)


@pytest.mark.parametrize(
    ("given", "written"), [("pfx", "pfx_"), ("pfx:", "pfx:"), ("pfx.", "pfx."), ("", "")]
)
async def test_a_global_prefix_is_celerys(
    given: str, written: str, redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    options = {"global_keyprefix": given}
    ours = RedisBackend(redis_url, clock=system_clock, transport_options=options)
    await ours.store([ResultCodec().succeeded(Finished("one"), 1)])
    app = celery_app(redis_url, result_backend_transport_options=options if given else {})

    assert server.keys("*") == [f"{written}celery-task-meta-one".encode()]
    assert await asyncio.to_thread(lambda: app.AsyncResult("one").get(timeout=60)) == 1
    await ours.close()
    close(app)


async def test_results_live_as_long_as_they_are_meant_to(
    backend: RedisBackend, server: redis_py.Redis
) -> None:
    body = b'{"status": "SUCCESS"}'
    now = time.time()
    await backend.store(
        [
            ResultRecord(id="day", state="SUCCESS", body=body, expires_at=now + 86400),
            ResultRecord(id="ever", state="SUCCESS", body=body),
            ResultRecord(
                id="hour", state="RETRY", body=b'{"status": "RETRY"}', expires_at=now + 3600
            ),
        ]
    )

    assert 86_390 < server.ttl("celery-task-meta-day") <= 86_400
    assert server.ttl("celery-task-meta-ever") == -1
    assert 3_590 < server.ttl("celery-task-meta-hour") <= 3_600


async def test_an_unreadable_result_ends_the_waiting(
    backend: RedisBackend, server: redis_py.Redis
) -> None:
    server.set("celery-task-meta-odd", b"\x00\xff")

    async with backend.watch(["odd"]) as changes, asyncio.timeout(30):
        (record,) = await anext(changes)

    assert (record.state, record.body) == ("FAILURE", b"\x00\xff")
