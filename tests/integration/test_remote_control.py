"""Asking and steering workers, over each broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.measured import SECOND, measured
from umbel import Umbel
from umbel.exceptions import TaskRevokedError
from umbel.model import Message
from umbel.worker import Worker
from umbel.worker.control import Panel, control_command, inspect_command


@pytest.fixture(scope="module")
def rabbitmq_url(empty_rabbitmq: Callable[[], str]) -> str:
    """A RabbitMQ for this module."""
    return empty_rabbitmq()


@pytest.fixture(params=["memory", "sqlite", "redis", "rabbitmq"])
async def app(
    request: pytest.FixtureRequest, url_of: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Umbel]:
    """An app with a broker of its own."""
    if request.param == "rabbitmq":
        url, backend = request.getfixturevalue("rabbitmq_url"), f"memory://{tmp_path}"
    else:
        url = backend = url_of(request.param)
    app = Umbel("test", broker=url, backend=backend, set_as_current=False)
    app.conf.task_default_queue = f"q-{tmp_path.name}"
    yield app
    await app.aclose()


@pytest.fixture
def quick(tmp_path: Path) -> Umbel:
    """An app in memory, for what is the same on every broker."""
    url = f"memory://{tmp_path}"
    return Umbel("test", broker=url, backend=url, set_as_current=False)


@asynccontextmanager
async def working(app: Umbel, *names: str, **options: Any) -> AsyncIterator[list[Worker]]:
    given = {"pool": "threads", "concurrency": 1, "quiet": True, **options}
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Worker(app, hostname=f"{name}@here", **given))
            for name in names or ("one",)
        ]


async def ask(app: Umbel, command: str, /, *to: str, **arguments: Any) -> dict[str, Any]:
    """The replies by node."""
    replies = await app.control.abroadcast(command, arguments, list(to), reply=True, timeout=1)
    return {node: value for reply in replies or () for node, value in reply.items()}


async def ask_one(app: Umbel, command: str, /, **arguments: Any) -> Any:
    """The reply of the worker called ``one``."""
    return (await ask(app, command, "one@here", **arguments))["one@here"]


async def until(question: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(30):
        while not await question():  # noqa: ASYNC110 - a worker has no event for each answer
            await asyncio.sleep(0.01)


async def _is(question: Awaitable[object], answer: object) -> bool:
    return await question == answer


async def test_every_worker_answers_or_only_those_that_are_asked(app: Umbel) -> None:
    pong = {"ok": "pong"}
    async with working(app, "one", "two", "mail"):
        assert await ask(app, "ping") == {f"{name}@here": pong for name in ("one", "two", "mail")}
        assert await ask(app, "ping", "two@here") == {"two@here": pong}
        for pattern, matcher in (("m*", "glob"), ("^ma", "pcre")):
            replies = await app.control.abroadcast(
                "ping", reply=True, timeout=0.5, pattern=pattern, matcher=matcher
            )
            assert replies == [{"mail@here": pong}]


async def test_what_a_worker_does_can_be_seen(app: Umbel) -> None:
    gate = threading.Event()

    @app.task(name="wait")
    def wait(number: int, *, polite: bool = True) -> None:
        gate.wait(60)

    async with working(app) as [worker]:
        for number in range(2):
            await wait.aapply_async((number,), {"polite": False}, task_id=f"id{number}")
        later = await wait.aapply_async((9,), countdown=3600, task_id="later")
        await until(lambda: ask_one(app, "active"))

        [active] = await ask_one(app, "active")
        assert (active["id"], active["name"], active["type"]) == ("id0", "wait", "wait")
        assert (active["args"], active["kwargs"]) == ([0], {"polite": False})
        assert active["hostname"] == "one@here"
        assert active["worker_pid"] > 0
        assert active["time_start"] > 1.6e9
        assert active["acknowledged"] is True
        assert set(active["delivery_info"]) >= {"exchange", "routing_key", "priority"}
        [safe] = await ask_one(app, "active", safe=True)
        assert (safe["args"], safe["kwargs"]) == ("(0,)", "{'polite': False}")
        found = await ask_one(app, "query_task", ids=["id0", later.id, "unknown"])
        assert found["id0"][0] == "active"
        assert "unknown" not in found
        stats = await ask_one(app, "stats")
        assert stats["total"]["wait"] >= 1
        assert stats["pool"]["max-concurrency"] == 1
        assert isinstance(stats["clock"], str)
        queues = await ask_one(app, "active_queues")
        assert [queue["name"] for queue in queues] == [app.conf.task_default_queue]
        assert await ask_one(app, "registered") == ["wait"]
        gate.set()
        await worker.settled(2)


async def test_a_revoked_task_does_not_run(app: Umbel) -> None:
    @app.task(name="never")
    def never() -> str:
        return "it ran"

    async with working(app) as [worker]:
        reply = await ask_one(app, "revoke", task_id="doomed")
        assert reply == {"ok": "tasks {'doomed'} flagged as revoked"}
        assert await ask_one(app, "revoked") == ["doomed"]
        result = await never.aapply_async(task_id="doomed")
        await worker.settled(1)
        with pytest.raises(TaskRevokedError):
            await result.aget(timeout=60)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("nonsense", {}),
        ("revoke", {}),
        ("revoke", {"task_id": 3}),
        ("revoke", {"task_id": "a", "terminate": True, "signal": "NOPE"}),
        ("revoke_by_stamped_headers", {"headers": ["no equals sign"]}),
        ("query_task", {"ids": 7}),
        ("rate_limit", {"task_name": "add", "rate_limit": "fast"}),
        ("rate_limit", {"task_name": "unknown", "rate_limit": "1/s"}),
        ("time_limit", {"task_name": "unknown"}),
        ("pool_grow", {"n": "many"}),
        ("pool_shrink", {"n": 100}),
        ("pool_restart", {}),
        ("autoscale", {"max": 3, "min": 1}),
        ("election", {"id": 1}),
        ("registered", {"taskinfoitems": 5}),
        ("add_consumer", {}),
        ("cancel_consumer", {"queue": []}),
        ("memdump", {"samples": "x"}),
    ],
)
async def test_bad_arguments_are_answered_and_harm_nobody(
    quick: Umbel, command: str, arguments: dict[str, Any]
) -> None:
    async with working(quick):
        reply = await ask_one(quick, command, **arguments)

        assert "error" in reply
        assert await ask_one(quick, "ping") == {"ok": "pong"}


async def test_noise_on_the_control_channel_harms_nobody(app: Umbel) -> None:
    async with working(app):
        fanout = await app.connections.fanout()
        exchange = app.control.mailbox.exchange
        for body in (b"", b"{", b"[]", b"{}", b'{"method": 3}', b'{"method":"ping","reply_to":7}'):
            noise = Message(id="", body=body, exchange=exchange.name, routing_key="")
            await fanout.broadcast(exchange, [noise])
        pickled = Message(
            id="",
            body=b"\x80",
            content_type="application/x-python-serialize",
            exchange=exchange.name,
            routing_key="",
        )
        await fanout.broadcast(exchange, [pickled])

        assert await ask_one(app, "ping") == {"ok": "pong"}


async def test_a_worker_can_be_ended_and_does_not_reply(app: Umbel) -> None:
    async with working(app, "one", "two"):
        assert await ask(app, "shutdown", "one@here") == {}
        await until(lambda: _is(ask(app, "ping"), {"two@here": {"ok": "pong"}}))


async def test_the_pool_grows_and_shrinks(quick: Umbel) -> None:
    async with working(quick):
        assert await ask_one(quick, "pool_grow", n=2) == {"ok": "pool will grow"}
        assert (await ask_one(quick, "stats"))["pool"]["max-concurrency"] == 3
        assert await ask_one(quick, "pool_shrink") == {"ok": "pool will shrink"}
        assert (await ask_one(quick, "stats"))["pool"]["max-concurrency"] == 2


async def test_queues_are_added_and_cancelled_at_run_time(app: Umbel) -> None:
    extra = f"extra-{app.conf.task_default_queue}"

    @app.task(name="mark")
    def mark() -> str:
        return "done"

    async with working(app):
        assert await ask_one(app, "add_consumer", queue=extra) == {"ok": f"add consumer {extra}"}
        names = [queue["name"] for queue in await ask_one(app, "active_queues")]
        assert names == [app.conf.task_default_queue, extra]
        sent = await app.asend_task("mark", queue=extra)
        assert await sent.aget(timeout=60) == "done"

        reply = await ask_one(app, "cancel_consumer", queue=extra)
        assert reply == {"ok": f"no longer consuming from {extra}"}
        waiting = await app.asend_task("mark", queue=extra)
        # Sent later, to a queue that is still consumed from: by then the other would have run.
        assert await (await app.asend_task("mark")).aget(timeout=60) == "done"
        assert await waiting.astate() == "PENDING"
        await ask_one(app, "add_consumer", queue=extra)
        assert await waiting.aget(timeout=60) == "done"


async def test_a_worker_may_be_left_without_queues_and_go_on(quick: Umbel) -> None:
    @quick.task(name="mark")
    def mark() -> str:
        return "done"

    async with working(quick):
        await ask_one(quick, "cancel_consumer", queue="celery")
        assert await ask_one(quick, "active_queues") == []
        sent = await mark.adelay()
        await ask_one(quick, "add_consumer", queue="celery")

        assert await sent.aget(timeout=60) == "done"


async def test_limits_of_tasks_are_changed(quick: Umbel) -> None:
    @quick.task(name="add")
    def add() -> None: ...

    good = {"ok": "time limits set successfully"}
    async with working(quick):
        assert await ask_one(quick, "time_limit", task_name="add", soft=5, hard=9) == good
        assert (add.soft_time_limit, add.time_limit) == (5, 9)
        assert await ask_one(quick, "time_limit", task_name="no") == {"error": "unknown task"}
        assert await ask_one(quick, "rate_limit", task_name="add", rate_limit="9/h") == {
            "ok": "new rate limit set successfully"
        }
        assert await ask_one(quick, "registered") == ["add [rate_limit=9/h]"]
        assert await ask_one(quick, "rate_limit", task_name="add", rate_limit=0) == {
            "ok": "rate limit disabled successfully"
        }


async def test_the_pool_is_restarted_where_that_is_allowed(quick: Umbel) -> None:
    async with working(quick):
        denied = {"error": "ValueError('Pool restarts not enabled')"}
        assert await ask_one(quick, "pool_restart") == denied
        quick.conf.worker_pool_restarts = True
        assert await ask_one(quick, "pool_restart", modules=["json"], reload=True) == {
            "ok": "reload started"
        }
        assert "error" in await ask_one(quick, "pool_restart", modules=["no.such.module"])


@measured
async def test_fifty_workers_answer_in_less_than_a_second(redis_url: str) -> None:
    app = Umbel("test", broker=redis_url, backend=redis_url, set_as_current=False)
    names = [f"w{number}" for number in range(50)]

    async with working(app, *names, pool="solo", without_gossip=True, without_mingle=True):
        clock = app.wall_clock
        await ask(app, "ping")
        began = clock.monotonic()
        replies = await ask(app, "ping")
        took = clock.monotonic() - began

    await app.aclose()
    assert len(replies) == 50
    assert took < SECOND


async def test_commands_of_ones_own_are_carried_out(quick: Umbel) -> None:
    @control_command(args=[("n", int)], signature="[N=1]")
    def double(state: Any, n: int = 1) -> Any:
        return {"ok": [state.hostname, 2 * n]}

    @inspect_command(name="slowly")
    async def answer_slowly(state: Any) -> str:
        await asyncio.sleep(0)
        return f"{state.consumer.qos.value >= 0}"

    try:
        async with working(quick):
            assert await ask_one(quick, "double", n=21) == {"ok": ["one@here", 42]}
            assert await ask_one(quick, "slowly") == "True"
        assert Panel.meta["double"].type == "control"
        assert Panel.meta["slowly"].type == "inspect"
    finally:
        for name in ("double", "slowly"):
            del Panel.data[name], Panel.meta[name]


async def test_a_command_may_change_how_many_messages_a_worker_holds(quick: Umbel) -> None:
    """Celery's own example of a command, and what else its consumer's ``qos`` can do."""

    @control_command(args=[("n", int)], signature="[N=1]")
    def increase_prefetch_count(state: Any, n: int = 1) -> Any:
        state.consumer.qos.increment_eventually(n)
        return {"ok": "prefetch count incremented"}

    @inspect_command()
    def current_prefetch_count(state: Any) -> Any:
        return {"prefetch_count": state.consumer.qos.value}

    @control_command()
    def hold_less(state: Any, n: int) -> Any:
        return state.consumer.qos.decrement_eventually(n), state.consumer.qos.update()

    gate = threading.Event()

    @quick.task(name="wait")
    def wait() -> None:
        gate.wait(60)

    async def held() -> int:
        return sum([len(await ask_one(quick, kind)) for kind in ("active", "reserved")])

    try:
        async with working(quick, prefetch_multiplier=2):
            assert await ask_one(quick, "current_prefetch_count") == {"prefetch_count": 2}
            assert "ok" in await ask_one(quick, "increase_prefetch_count", n=3)
            assert await ask_one(quick, "current_prefetch_count") == {"prefetch_count": 5}
            assert (await ask_one(quick, "stats"))["prefetch_count"] == 5
            assert await ask_one(quick, "hold_less", n=4) == [1, 1]
            for _ in range(3):
                await wait.adelay()
            await until(lambda: _is(held(), 1))
            assert await ask_one(quick, "hold_less", n=4) == [1, 1]
            assert await held() == 1
            gate.set()
    finally:
        for name in ("increase_prefetch_count", "current_prefetch_count", "hold_less"):
            del Panel.data[name], Panel.meta[name]


async def test_a_worker_may_be_deaf(quick: Umbel) -> None:
    quick.conf.worker_enable_remote_control = False

    async with working(quick):
        assert await ask(quick, "ping") == {}


def test_synchronous_callers_ask_as_in_celery(quick: Umbel) -> None:
    stop = threading.Event()
    up = threading.Event()

    async def work() -> None:
        async with working(quick, "one", "two"):
            up.set()
            await asyncio.to_thread(stop.wait, 30)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    try:
        assert up.wait(60)
        control = quick.control
        heard: list[dict[str, Any]] = []

        assert len(control.ping()) == 2
        assert control.ping(["one@here"]) == [{"one@here": {"ok": "pong"}}]
        assert set(control.inspect(callback=heard.append).ping()) == {"one@here", "two@here"}
        assert len(heard) == 2
        assert control.inspect("two@here").clock()["clock"] > 0
        assert control.inspect(["nobody@here"], timeout=0.2).ping() is None
        assert control.inspect(pattern="o*", matcher="glob", timeout=0.3).ping() == {
            "one@here": {"ok": "pong"}
        }
        assert control.inspect(limit=1).ping().keys() < {"one@here", "two@here"}
        assert control.revoke("a") is None
        assert control.revoke(["a", "b"], reply=True, limit=2) is not None
        assert control.purge() == 0
    finally:
        stop.set()
        thread.join()
        quick.close()
