"""Chords on real workers: every member's end is heard of, and the body runs once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from umbel import Umbel, chord, group
from umbel.exceptions import ChordError, Ignore, Reject
from umbel.result import GroupResult
from umbel.serialization import registry
from umbel.testing.servers import RedisServer, redis_server
from umbel.wire import tasks as wire
from umbel.wire.call import Call
from umbel.wire.headers import with_publication
from umbel.worker import Worker


@pytest.fixture(scope="module")
def rabbitmq_for_module(empty_rabbitmq: Callable[[], str]) -> str:
    return empty_rabbitmq()


@pytest.fixture(params=["memory", "sqlite", "redis", "apart", "rabbitmq"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Umbel]:
    """An app with a broker and a result backend: one, or two that cannot commit together."""
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: f"memory://{tmp_path}",
        "sqlite": lambda: f"sqlite:///{tmp_path}/q.db",
        "redis": lambda: request.getfixturevalue("redis_url"),
        "apart": lambda: f"memory://{tmp_path}/broker",
        "rabbitmq": lambda: request.getfixturevalue("rabbitmq_for_module"),
    }
    url = urls[request.param]()
    keeps_nothing = request.param in ("apart", "rabbitmq")
    backend = f"sqlite:///{tmp_path}/results.db" if keeps_nothing else url
    app = Umbel("test", broker=url, backend=backend, set_as_current=False)
    # One server for all tests, and no message of another one.
    app.conf.task_default_queue = f"chords-{uuid4()}"

    @app.task(name="same")
    def same(value: Any) -> Any:
        return value

    @app.task(name="total")
    def total(values: list[Any]) -> Any:
        return values

    yield app
    await app.aclose()
    # Tasks that wait or publish do so on a loop of their own.
    await asyncio.to_thread(app.close)


@asynccontextmanager
async def working(app: Umbel, **options: Any) -> AsyncIterator[Worker]:
    given = {"pool": "threads", "concurrency": 2, "quiet": True, **options}
    async with asyncio.timeout(200), Worker(app, **given) as worker:
        yield worker


def same(app: Umbel, value: Any, **options: Any) -> Any:
    return app.tasks["same"].s(value).set(**options)


async def sent(app: Umbel, header: Any) -> Any:
    """The result of a chord whose body returns what it gets."""
    return await chord(header, app.tasks["total"].s(), app=app).aapply_async()


async def test_the_body_gets_the_values_in_order(app: Umbel) -> None:
    header = [same(app, number) for number in range(50)]

    async with working(app):
        result = await (await sent(app, header)).aget(timeout=40)

    assert result == list(range(50))


async def test_the_parent_of_a_body_is_its_header(app: Umbel) -> None:
    async with working(app):
        result = await sent(app, [same(app, 1), same(app, 2)])
        await result.aget(timeout=40)

        assert isinstance(result.parent, GroupResult)
        assert await result.parent == [1, 2]
        assert await result.parent.acompleted_count() == 2


async def test_members_whose_results_are_ignored_are_in_the_list_all_the_same(app: Umbel) -> None:
    header = [same(app, 1, ignore_result=True), same(app, 2)]

    async with working(app):
        assert await (await sent(app, header)).aget(timeout=40) == [1, 2]


async def failure_of(app: Umbel, member: Any) -> tuple[str, str]:
    """What becomes of a chord with that member, and the member's id."""
    result = await sent(app, [same(app, 1), member, same(app, 3)])
    with pytest.raises(ChordError) as caught:
        await result.aget(timeout=40)
    return str(caught.value), result.parent.results[1].id


async def test_a_member_that_fails_is_named(app: Umbel) -> None:
    @app.task
    def fail() -> None:
        raise LookupError("no", 3)

    async with working(app):
        error, member = await failure_of(app, fail.s())

    assert error == f"Dependency {member} raised LookupError('no', 3)"


async def test_a_member_that_had_expired_is_named(app: Umbel) -> None:
    past = datetime.now(UTC) - timedelta(seconds=5)

    async with working(app):
        error, member = await failure_of(app, same(app, 2, expires=past))

    assert error == f"Dependency {member} raised TaskRevokedError('expired')"


async def test_a_member_that_nobody_knows_is_named(app: Umbel) -> None:
    async with working(app):
        error, member = await failure_of(app, app.signature("nobody.knows"))

    assert error.startswith(f"Dependency {member} raised Task of kind 'nobody.knows' never")


@pytest.fixture
def illegible() -> Iterator[str]:
    """A serializer that can write, and reads nothing back."""
    registry.register("illegible", lambda _: "?", _damaged, "application/x-illegible")
    yield "illegible"
    registry.unregister("illegible")


def _damaged(_: bytes) -> object:
    raise ValueError("damaged")


async def test_a_member_whose_message_cannot_be_read_is_named(app: Umbel, illegible: str) -> None:
    app.conf.accept_content = ["json", illegible]
    async with working(app):
        error, member = await failure_of(app, same(app, 2, serializer=illegible))

    assert error.startswith(f"Dependency {member} raised DecodeError(")
    assert "damaged" in error


@pytest.mark.parametrize("size", [1, 3])
async def test_a_chord_whose_members_are_all_refused_fails(app: Umbel, size: int) -> None:
    """None of them says what is to run when the last one has ended."""
    header = [same(app, number, serializer="pickle") for number in range(size)]

    async with working(app):
        result = await sent(app, header)
        with pytest.raises(ChordError, match="refused content of type 'application/x-python-ser"):
            await result.aget(timeout=40)


@pytest.mark.parametrize(
    ("end", "shown"),
    [(Ignore("not now"), "Ignore('not now')"), (Reject("no", requeue=False), "reject requeue=Fal")],
)
async def test_a_member_that_gives_itself_up_is_named(
    app: Umbel, end: Exception, shown: str
) -> None:
    @app.task(acks_late=True)
    def give_up() -> None:
        raise end

    async with working(app):
        error, member = await failure_of(app, give_up.s())

    assert error.startswith(f"Dependency {member} raised {shown}")


async def test_a_member_that_is_revoked_is_named(app: Umbel) -> None:
    header = [same(app, 1), same(app, 2, countdown=1), same(app, 3)]
    async with working(app) as worker:
        result = await sent(app, header)
        member = result.parent.results[1].id
        await worker.revoke([member])

        with pytest.raises(ChordError, match=f"Dependency {member} raised TaskRevokedError"):
            await result.aget(timeout=40)


async def test_a_chain_that_breaks_before_its_end_ends_the_chord(app: Umbel) -> None:
    @app.task
    def fail(_: object) -> None:
        raise LookupError("no")

    chain = same(app, 1) | fail.s() | app.tasks["same"].s()
    async with working(app):
        error, _ = await failure_of(app, chain)

    assert "raised LookupError('no')" in error


async def test_a_message_that_was_published_twice_runs_once(app: Umbel) -> None:
    ran: list[int] = []

    @app.task(name="note", acks_late=True)
    def note(number: int) -> None:
        ran.append(number)

    def message(number: int, publication: str) -> Any:
        queue = app.conf.task_default_queue
        call = Call(id=f"id-{number}", task="note", args=(number,), kwargs={}, routing_key=queue)
        return with_publication(wire.encode(call), publication)

    broker = await app.connections.broker()
    async with working(app, concurrency=1) as worker:
        await broker.publish([message(1, "a"), message(1, "b"), message(2, "c")])
        await worker.settled(3)
        # The same publication once more is a message that is delivered again.
        await broker.publish([message(1, "b"), message(1, "a")])
        await worker.settled(5)

    assert ran == [1, 2, 1]


async def test_a_header_may_have_thousands_of_members(app: Umbel) -> None:
    size = 2000
    header = (same(app, number) for number in range(size))

    async with working(app):
        result = await group(header, app=app).aapply_async()
        assert len(await result) == size
        header = (same(app, number) for number in range(size))
        assert await (await sent(app, header)).aget(timeout=50) == list(range(size))


async def test_a_polled_chord_whose_results_have_gone_fails(app: Umbel) -> None:
    """As Celery's clients send them with a result backend that cannot count."""
    app.conf.result_expires = 2
    body = app.tasks["total"].s().set(task_id="the-body")
    gone = [(("gone", None), None)]
    result = app.AsyncResult("the-body")

    async with working(app):
        waiting = asyncio.create_task(result.aget(timeout=40))
        await app.asend_task(
            "celery.chord_unlock", ("g", dict(body)), {"interval": 0.5, "result": gone}
        )
        with pytest.raises(ChordError, match="Dependency gone raised BackendGetMetaError"):
            await waiting


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def forgetful(tmp_path: Path, server: RedisServer) -> AsyncIterator[Umbel]:
    """An app whose results are in a Redis that may lose them, its messages somewhere else."""
    app = Umbel("test", broker=f"memory://{tmp_path}", backend=server.url(), set_as_current=False)

    @app.task(name="total")
    def total(values: list[Any]) -> Any:
        return values

    yield app
    await app.aclose()
    await asyncio.to_thread(app.close)


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - of other threads
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["list", "generator", "nested"])
async def test_a_chord_whose_count_is_lost_fails_and_says_so_once(
    forgetful: Umbel, server: RedisServer, kind: str
) -> None:
    app, ran = forgetful, list[int]()
    go = threading.Event()
    told: list[str] = []

    @app.task
    def wait(number: int) -> int:
        ran.append(number)
        go.wait(40)
        return number

    @app.task
    def note(task_id: str) -> None:
        told.append(task_id)

    header: Any = [wait.s(number) for number in range(6)]
    if kind == "generator":
        header = iter(header)
    elif kind == "nested":
        header = [wait.s(-1), chord(header, app.tasks["total"].s(), app=app)]
    body = app.tasks["total"].s().on_error(note.s())
    try:
        async with working(app):
            result = await chord(header, body, app=app).aapply_async()
            await wait_for(lambda: len(ran) == 2)
            await asyncio.to_thread(server.flush)
            go.set()
            with pytest.raises(ChordError, match="has lost how many members of chord"):
                await result.aget(timeout=40)
            await wait_for(lambda: len(ran) == (7 if kind == "nested" else 6))
            await wait_for(lambda: bool(told))
    finally:
        go.set()

    assert told == [result.id]


async def test_a_polled_chord_that_is_looked_at_often_enough_fails(app: Umbel) -> None:
    body = app.tasks["total"].s().set(task_id="given-up")
    never = [(("never", None), None)]
    result = app.AsyncResult("given-up")

    async with working(app):
        waiting = asyncio.create_task(result.aget(timeout=40))
        options = {"interval": 0.1, "max_retries": 1, "result": never}
        await app.asend_task("celery.chord_unlock", ("g", dict(body)), options)
        with pytest.raises(ChordError, match="chord_unlock could not be retried"):
            await waiting


@pytest.fixture
async def uncounted(rabbitmq_for_module: str) -> AsyncIterator[Umbel]:
    """An app whose results are messages."""
    url = rabbitmq_for_module
    app = Umbel("test", broker=url, backend="rpc://", set_as_current=False)
    app.conf.task_default_queue = f"uncounted-{uuid4()}"

    @app.task(name="same")
    def same(value: Any) -> Any:
        return value

    @app.task(name="turns", bind=True)
    def turns(self: Any) -> None:
        self.replace(chord([app.tasks["same"].s(1), app.tasks["same"].s(2)], app.tasks["same"].s()))

    yield app
    await app.aclose()
    await asyncio.to_thread(app.close)


async def test_a_chord_that_comes_later_is_refused_before_anything_is_sent(
    uncounted: Umbel,
) -> None:
    app = uncounted
    later = (
        same(app, 1) | group(app.tasks["same"].s(), app.tasks["same"].s()) | app.tasks["same"].s()
    )

    with pytest.raises(NotImplementedError, match='"rpc" result backend does not support chords!'):
        await later.aapply_async()

    broker = await app.connections.broker()
    queue = app.conf.task_default_queue
    assert (await broker.stats([queue]))[queue].ready == 0


async def test_a_chord_that_nobody_counts_fails(uncounted: Umbel) -> None:
    async with working(uncounted):
        result = await uncounted.tasks["turns"].adelay()
        with pytest.raises(ChordError, match='"rpc" result backend does not support chords!'):
            await result.aget(timeout=40)
