"""Events of workers and tasks, from a worker in place to a receiver."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.events.snapshot import Polaroid, evcam
from umbel.events.state import State
from umbel.exceptions import Reject
from umbel.model import Message
from umbel.wire.events import exchange_of
from umbel.worker import Worker

PATIENCE = 60.0
NOISE = (b"", b"{", b"7", b"[1]", b"{}", b'{"type": 3}', b'{"type":"worker-elect"}')


def make_app(url: str) -> Umbel:
    return Umbel("test", broker=url, backend=url, set_as_current=False)


class Ear:
    """A receiver in a thread of its own, with an app of its own."""

    def __init__(self, url: str) -> None:
        self.app = make_app(url)
        self.state = self.app.events.State()
        self.events: list[dict[str, Any]] = []
        self.hears = threading.Event()
        self.receiver = self.app.events.Receiver(handlers={"*": self._hear})
        self.thread = threading.Thread(target=self.receiver.capture)

    def _hear(self, event: dict[str, Any]) -> None:
        self.events.append(dict(event))
        self.state.event(event)
        self.hears.set()

    def of(self, id_: str) -> list[str]:
        """The types of a task's events."""
        return [event["type"] for event in self.events if event.get("uuid") == id_]

    def one(self, type_: str, id_: str) -> dict[str, Any]:
        [event] = [e for e in self.events if e["type"] == type_ and e.get("uuid") == id_]
        return event


@contextmanager
def listening(url: str) -> Iterator[Ear]:
    ear = Ear(url)
    ear.thread.start()
    try:
        yield ear
    finally:
        ear.receiver.should_stop = True
        ear.thread.join()
        ear.app.close()


@asynccontextmanager
async def working(app: Umbel, *names: str, **options: Any) -> AsyncIterator[list[Worker]]:
    given = {"pool": "threads", "concurrency": 1, "quiet": True, "task_events": True, **options}
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Worker(app, hostname=f"{name}@here", **given))
            for name in names or ("one",)
        ]
    await app.aclose()
    app.close()


async def until(question: Callable[[], object]) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(PATIENCE):
        while not question():  # noqa: ASYNC110 - asked of another thread
            await asyncio.sleep(0.01)


async def test_each_step_of_a_task_is_told_with_celerys_fields(url: str) -> None:
    app = make_app(url)
    app.conf.task_send_sent_event = True

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no luck")

    with listening(url) as ear:
        async with working(app):
            await until(ear.hears.is_set)
            good = await add.aapply_async((2, 3), task_id="good")
            await fail.aapply_async(task_id="bad")
            await until(lambda: "task-failed" in ear.of("bad"))

    # The client tells when the broker has it; the worker may be faster.
    steps = ["task-received", "task-started", "task-succeeded"]
    assert [type_ for type_ in ear.of(good.id) if type_ != "task-sent"] == steps
    common = {"type", "uuid", "hostname", "pid", "clock", "timestamp", "utcoffset"}
    common.add("local_received")
    received = ear.one("task-received", "good")
    names = {"name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"}
    assert set(received) == common | names
    assert (received["name"], received["args"], received["kwargs"]) == ("add", "(2, 3)", "{}")
    assert received["hostname"] == "one@here"
    sent = ear.one("task-sent", "good")
    assert set(sent) == common | names | {"queue", "exchange", "routing_key"}
    assert sent["queue"] == "celery"
    succeeded = ear.one("task-succeeded", "good")
    assert set(succeeded) == common | {"result", "runtime"}
    assert succeeded["result"] == "5"
    started = ear.one("task-started", "good")
    assert received["timestamp"] <= started["timestamp"] + 0.01
    assert started["clock"] < succeeded["clock"]
    failed = ear.one("task-failed", "bad")
    assert failed["exception"] == "ValueError('no luck')"
    assert "raise ValueError" in failed["traceback"]
    task = ear.state.tasks["good"]
    assert (task.state, task.result, task.worker.hostname) == ("SUCCESS", "5", "one@here")
    assert [task.uuid for _, task in ear.state.tasks_by_time(reverse=False)] == ["good", "bad"]
    assert ear.state.task_types() == ["add", "fail"]
    again = pickle.loads(pickle.dumps(ear.state))
    assert [task.uuid for _, task in again.tasks_by_type("add")] == ["good"]


async def test_what_does_not_run_is_told_too(tmp_path: Path) -> None:
    app = make_app(f"memory://{tmp_path}")

    @app.task(name="work")
    def work() -> None: ...

    @app.task(name="reject")
    def reject() -> None:
        raise Reject("no", requeue=False)

    @app.task(name="retry", bind=True, max_retries=1)
    def retry(self: Any) -> None:
        raise self.retry(exc=KeyError("again"), countdown=0)

    @app.task(name="silent", send_events=False)
    def silent() -> None: ...

    with listening(f"memory://{tmp_path}") as ear:
        async with working(app) as [worker]:
            await until(ear.hears.is_set)
            await worker.revoke(["revoked"])
            await work.aapply_async(task_id="revoked")
            await work.aapply_async(task_id="late", expires=-1)
            await app.asend_task("unknown", task_id="unknown")
            await reject.aapply_async(task_id="rejected")
            await retry.aapply_async(task_id="retried")
            await silent.aapply_async(task_id="silent")
            await work.aapply_async(task_id="last")
            await until(lambda: "task-succeeded" in ear.of("last"))
            await until(lambda: "task-failed" in ear.of("retried"))

    revoked, late = ear.one("task-revoked", "revoked"), ear.one("task-revoked", "late")
    assert (revoked["terminated"], revoked["signum"], revoked["expired"]) == (False, None, False)
    assert late["expired"] is True
    assert ear.one("task-failed", "unknown")["exception"] == "NotRegistered('unknown')"
    assert ear.one("task-rejected", "rejected")["requeue"] is False
    assert "again" in ear.one("task-retried", "retried")["exception"]
    assert ear.of("silent") == []


async def test_a_long_task_is_told_to_have_started_while_it_runs(tmp_path: Path) -> None:
    app = make_app(f"memory://{tmp_path}")
    gate = threading.Event()

    @app.task(name="wait")
    def wait() -> None:
        gate.wait(PATIENCE)

    with listening(f"memory://{tmp_path}") as ear:
        async with working(app):
            await until(ear.hears.is_set)
            await wait.aapply_async(task_id="long")
            await until(lambda: "task-started" in ear.of("long"))
            assert ear.of("long") == ["task-received", "task-started"]
            gate.set()
            await until(lambda: "task-succeeded" in ear.of("long"))
    assert ear.of("long") == ["task-received", "task-started", "task-succeeded"]


async def test_tasks_are_told_of_only_when_somebody_wants_it(tmp_path: Path) -> None:
    app = make_app(f"memory://{tmp_path}")

    @app.task(name="work")
    def work() -> None: ...

    with listening(f"memory://{tmp_path}") as ear:
        async with working(app, task_events=False) as [worker]:
            await until(ear.hears.is_set)
            control = app.control
            await work.aapply_async(task_id="before")
            await worker.settled(1)
            reply = await control.abroadcast("enable_events", reply=True)
            assert reply == [{"one@here": {"ok": "task events enabled"}}]
            reply = await control.abroadcast("enable_events", reply=True)
            assert reply == [{"one@here": {"ok": "task events already enabled"}}]
            await work.aapply_async(task_id="during")
            await until(lambda: "task-succeeded" in ear.of("during"))
            reply = await control.abroadcast("disable_events", reply=True)
            assert reply == [{"one@here": {"ok": "task events disabled"}}]
            await work.aapply_async(task_id="after")
            await worker.settled(3)
    assert ear.of("before") == ear.of("after") == []
    types = [event["type"] for event in ear.events]
    assert types[-1] == "worker-offline"


async def test_events_of_ones_own_come_from_tasks_and_from_anywhere(url: str) -> None:
    app = make_app(url)

    @app.task(name="work", bind=True)
    def work(self: Any) -> None:
        self.send_event("task-halfway", done=5)

    with listening(url) as ear:
        async with working(app):
            await until(ear.hears.is_set)
            await work.aapply_async(task_id="own")
            await until(lambda: "task-succeeded" in ear.of("own"))
        client = make_app(url)
        with client.events.Dispatcher(buffer_group={"stock"}, buffer_limit=2) as dispatcher:
            dispatcher.send("order-placed", number=7)
            for number in range(3):
                dispatcher.send("stock-low", number=number)
            dispatcher.disable()
            dispatcher.send("order-placed", number=8)
        await until(lambda: sum(e["type"] == "stock-low" for e in ear.events) == 3)
        client.close()

    assert ear.one("task-halfway", "own")["done"] == 5
    assert [e["number"] for e in ear.events if e["type"] == "order-placed"] == [7]


async def test_noise_among_the_events_harms_nobody(tmp_path: Path) -> None:
    app = make_app(f"memory://{tmp_path}")
    exchange = exchange_of("celeryev")

    with listening(f"memory://{tmp_path}") as ear:
        async with working(app):
            await until(ear.hears.is_set)
            fanout = await app.connections.fanout()
            for key in ("worker.heartbeat", "worker.elect", "task.multi"):
                for body in (
                    b"",
                    b"{",
                    b"7",
                    b"[1]",
                    b"{}",
                    b'{"type": 3}',
                    b'{"type":"worker-elect"}',
                ):
                    noise = Message(id="", body=body, exchange="celeryev", routing_key=key)
                    await fanout.broadcast(exchange, [noise])
            count = len(ear.events)
            reply = await app.control.abroadcast("heartbeat", reply=True)
            assert reply == [{"one@here": None}]
            await until(lambda: len(ear.events) > count)
        assert ear.thread.is_alive()


async def test_one_worker_is_elected_and_does_what_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(f"memory://{tmp_path}")
    done: list[str] = []

    @app.task(name="lead")
    def lead() -> None:
        done.append("led")

    caplog.set_level(logging.INFO)
    async with working(app, "one", "two", "three"):
        await asyncio.sleep(0)
        signature = dict(lead.s())
        for number in range(3):
            arguments = {"id": f"e{number}", "topic": "task", "action": signature}
            await app.control.abroadcast("election", arguments)
            await until(lambda number=number: len(done) == number + 1)
        await app.control.abroadcast("election", {"id": "x", "topic": "nonsense"})
        await until(lambda: "Unknown election topic 'nonsense'" in caplog.text)
    assert len(done) == 3
    assert caplog.text.count("I won the election") == 4


async def test_a_single_worker_wins_its_election(tmp_path: Path) -> None:
    app = make_app(f"memory://{tmp_path}")
    done = threading.Event()

    @app.task(name="lead")
    def lead() -> None:
        done.set()

    async with working(app):
        arguments = {"id": "e", "topic": "task", "action": dict(lead.s())}
        await app.control.abroadcast("election", arguments)
        await until(done.is_set)


async def test_workers_learn_what_was_revoked_from_those_before_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(f"memory://{tmp_path}")
    caplog.set_level(logging.INFO)

    async with working(app, "one") as [one]:
        one.learn_revoked(["known to one"])
        async with working(make_app(f"memory://{tmp_path}"), "two") as [two]:
            assert two.state.revocations.ids == ["known to one"]

    assert "mingle: sync with 1 nodes" in caplog.text
    assert "mingle: all alone" in caplog.text


class Album(Polaroid):
    """Keeps what it sees."""

    clear_after = True
    pictures: list[tuple[int, list[str]]] = []  # noqa: RUF012 - the test reads it

    def on_shutter(self, state: State) -> None:
        self.pictures.append((state.event_count, [w.hostname for w in state.alive_workers()]))
        if len(self.pictures) == 3:
            raise KeyboardInterrupt


async def test_a_camera_takes_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app(f"memory://{tmp_path}")
    Album.pictures.clear()

    async with working(app, heartbeat_interval=0.1):
        client = make_app(f"memory://{tmp_path}")
        filming = asyncio.to_thread(evcam, Album, freq=0.2, app=client)
        await asyncio.wait_for(filming, PATIENCE)
        client.close()

    assert any(names == ["one@here"] for _, names in Album.pictures)
    assert "-> evcam: Taking snapshots" in capsys.readouterr().out
