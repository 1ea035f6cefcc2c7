"""The whole way of a task through the public surface: called here, run there, read here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Task, Umbel, current_task
from umbel.exceptions import (
    BackendUnavailable,
    Ignore,
    MaxRetriesExceededError,
    OperationalError,
    Reject,
)
from umbel.result import AsyncResult

from .in_place import working

POOLS = ["threads", "asyncio", "solo"]
AWAY = (OperationalError, BackendUnavailable)


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def app(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> AsyncIterator[Umbel]:
    url = url_of(request.param)
    made = Umbel("shop", broker=url, backend=url, set_as_current=False)
    yield made
    await made.aclose()
    await asyncio.to_thread(made.close)


@pytest.mark.parametrize("pool", POOLS)
async def test_what_is_called_is_run_and_read(app: Umbel, pool: str) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    async def aadd(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    async with working(app, pool=pool):
        assert await (await add.adelay(2, 2)) == 4
        assert await (await aadd.adelay(2, y=3)) == 5
        many = await add.aapply_many([(n, n) for n in range(50)])
        assert [await result.aget(timeout=60) for result in many] == [2 * n for n in range(50)]


async def test_synchronous_callers_beside_a_worker(app: Umbel) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    def use() -> tuple[Any, ...]:
        result = add.delay(2, 2)
        value = result.get(timeout=60)
        many = [one.get(timeout=60) for one in add.apply_many([(1, 1), (2, 3)])]
        by_name = app.send_task(add.name, (4, 5)).get(timeout=60)
        signature = add.s(1).delay(6).get(timeout=60)
        result.forget()
        return value, many, by_name, signature, app.AsyncResult(result.id).state

    async with working(app):
        assert await asyncio.to_thread(use) == (4, [2, 5], 9, 7, "PENDING")


async def test_many_threads_call_and_wait_at_once(app: Umbel) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    def use(start: int) -> list[int]:
        results = [double.delay(n) for n in range(start, start + 20)]
        return [result.get(timeout=60) for result in results]

    async with working(app):
        found = await asyncio.gather(*(asyncio.to_thread(use, k * 100) for k in range(6)))

    assert found == [[2 * n for n in range(k * 100, k * 100 + 20)] for k in range(6)]


async def test_states_of_ones_own_are_seen_while_the_task_runs(app: Umbel) -> None:
    seen, go_on = threading.Event(), threading.Event()

    @app.task(bind=True)
    def work(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1})
        seen.set()
        assert go_on.wait(60)
        return "done"

    async with working(app):
        result = await work.adelay()
        assert await asyncio.to_thread(seen.wait, 10)
        assert await app.AsyncResult(result.id).astate() == "PROGRESS"
        assert await asyncio.to_thread(lambda: app.AsyncResult(result.id).info) == {"done": 1}
        go_on.set()
        assert await result.aget(timeout=60) == "done"


async def test_every_state_on_the_way_reaches_who_waits(app: Umbel) -> None:
    app.conf.task_track_started = True
    watched = threading.Event()

    @app.task(bind=True)
    def work(self: Any) -> str:
        assert watched.wait(60)
        self.update_state(state="PROGRESS", meta=1)
        return "done"

    states: list[str] = []

    def note(message: dict[str, Any]) -> None:
        states.append(message["status"])
        watched.set()

    async with working(app):
        result = await work.adelay()
        assert await result.aget(timeout=60, on_message=note) == "done"

    assert states[0] == "STARTED"
    assert states[-1] == "SUCCESS"
    assert set(states) <= {"STARTED", "PROGRESS", "SUCCESS"}


async def test_a_state_can_be_set_from_outside(app: Umbel) -> None:
    task = app.task(name="it")(lambda: None)
    await asyncio.to_thread(task.update_state, task_id="a", state="UPLOADED", meta=[1])

    assert await app.AsyncResult("a").astate() == "UPLOADED"
    with pytest.raises(RuntimeError, match="needs a running task, or the id"):
        task.update_state(state="LOST")


async def test_retries_are_counted_and_end(app: Umbel) -> None:
    tries: list[int] = []

    @app.task(bind=True, max_retries=2)
    def work(self: Any, fail: int) -> int:
        tries.append(self.request.retries)
        if self.request.retries < fail:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    async with working(app):
        assert await (await work.adelay(2)).aget(timeout=60) == 2
        with pytest.raises(MaxRetriesExceededError):
            await (await work.adelay(3)).aget(timeout=60)

    assert tries == [0, 1, 2, 0, 1, 2]


async def test_what_ends_without_success_can_be_seen(app: Umbel) -> None:
    @app.task
    def fail() -> None:
        raise LookupError("no", 3)

    @app.task
    def reject() -> None:
        raise Reject("bad input", requeue=False)

    @app.task
    def ignore() -> None:
        raise Ignore

    async with working(app) as worker:
        failed, rejected = await fail.adelay(), await reject.adelay()
        ignored = await ignore.adelay()
        await worker.settled(3)
        with pytest.raises(LookupError) as caught:
            await failed.aget(timeout=60)
        # Celery stores nothing here, and who waits would wait for ever.
        with pytest.raises(Reject, match="bad input"):
            await rejected.aget(timeout=60)
        assert await ignored.astate() == "PENDING"

    assert caught.value.args == ("no", 3)


async def test_children_and_callbacks_are_found_from_the_result(app: Umbel) -> None:
    @app.task
    def child(x: int) -> int:
        return x + 1

    @app.task
    async def parent() -> str:
        return (await child.adelay(1)).id

    async with working(app):
        result = await parent.aapply_async(link=child.si(5).set(task_id="linked"))
        child_id = await result.aget(timeout=60)
        found = await asyncio.to_thread(lambda: app.AsyncResult(result.id).children) or []
        values = [await one.aget(timeout=60) for one in found if isinstance(one, AsyncResult)]

    assert [str(one) for one in found] == [child_id, "linked"]
    assert values == [2, 6]


@pytest.mark.parametrize("pool", POOLS)
async def test_waiting_inside_a_task_is_refused(app: Umbel, pool: str) -> None:
    @app.task
    def inner() -> int:
        return 1

    @app.task
    def outer() -> int:
        return inner.delay().get(timeout=60)

    async with working(app, pool=pool):
        with pytest.raises(RuntimeError, match="within a task"):
            await (await outer.adelay()).aget(timeout=60)


async def test_a_coroutine_task_may_await_another(app: Umbel) -> None:
    @app.task
    async def inner() -> int:
        return 1

    @app.task
    async def outer() -> int:
        return 1 + await (await inner.adelay()).aget(timeout=60)

    async with working(app, pool="asyncio", concurrency=4):
        assert await (await outer.adelay()).aget(timeout=60) == 2


async def test_results_that_are_ignored_are_not_kept(app: Umbel) -> None:
    @app.task(ignore_result=True)
    def quiet() -> int:
        return 1

    async with working(app) as worker:
        silent = await quiet.adelay()
        heard = await quiet.aapply_async(ignore_result=False)
        await worker.settled(2)

        assert await heard.aget(timeout=60) == 1
        assert await silent.astate() == "PENDING"
        assert await silent.aget() is None


async def test_tasks_know_what_runs_and_how_they_were_called(app: Umbel) -> None:
    @app.task(bind=True, name="look")
    def look(self: Any, x: int) -> dict[str, Any]:
        request = self.request
        return {
            "current": current_task.name,
            "worker": app.current_worker_task.name,
            "id": request.id,
            "args": request.args,
            "hostname": request.hostname,
            "queue": request.delivery_info["routing_key"],
            "trace": request.trace,
            "headers": request.headers,
            "root": request.root_id,
            "direct": request.called_directly,
        }

    async with working(app, hostname="w@here", queues=["slow"]):
        result = await look.aapply_async((1,), headers={"trace": "t"}, queue="slow")
        found = await result.aget(timeout=60)

    assert found == {
        "current": "look",
        "worker": "look",
        "id": result.id,
        "args": [1],
        "hostname": "w@here",
        "queue": "slow",
        "trace": "t",
        "headers": {"trace": "t"},
        "root": result.id,
        "direct": False,
    }


async def test_two_apps_in_one_process_do_not_meet(tmp_path: Path) -> None:
    one = Umbel("one", broker=f"memory://{tmp_path}/1", set_as_current=False)
    two = Umbel("two", broker=f"memory://{tmp_path}/2", set_as_current=False)
    who = [made.task(name="who")(lambda made=made: made.main) for made in (one, two)]
    async with working(one), working(two):
        answers = [await (await task.adelay()).aget(timeout=60) for task in who]
    for made in (one, two):
        await made.aclose()

    assert answers == ["one", "two"]


async def test_a_coroutine_task_leaves_no_connection_behind(app: Umbel) -> None:
    @app.task
    async def inner() -> int:
        return 1

    @app.task
    async def outer() -> str:
        return (await inner.adelay()).id

    # Each thread has a loop, and each loop connections, which end with the worker: otherwise
    # Python would warn of them here.
    async with working(app, pool="threads", concurrency=4):
        for _ in range(8):
            await (await outer.adelay()).aget(timeout=60)


PROGRAM = """
import os, threading
from umbel import Task, Umbel
from umbel.result import allow_join_result

app = Umbel("shop")
app.conf.worker_prefetch_multiplier = 1


class Counting(Task):
    made = 0

    def __init__(self):
        type(self).made += 1
        self.calls = 0


@app.task(base=Counting, bind=True, name="count")
def count(self):
    self.calls += 1
    return os.getpid(), type(self).made, self.calls


@app.task(name="inner")
def inner():
    return 1


@app.task(name="waits")
def waits():
    return inner.delay().get(timeout=60)


@app.task(name="allowed")
def allowed():
    with allow_join_result():
        return inner.delay().get(timeout=60)


@app.task(name="thread")
def thread():
    found = []

    def wait():
        try:
            found.append(inner.delay().get(timeout=60))
        except RuntimeError as error:
            found.append(str(error))

    other = threading.Thread(target=wait)
    other.start()
    other.join()
    return found


@app.task(bind=True, name="progress")
def progress(self):
    self.update_state(state="HALF", meta={"done": 1})
    return app.AsyncResult(self.request.id).state
"""


class Site:
    """A worker with a prefork pool in a process of its own, and a client of it."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "tasks.py").write_text(PROGRAM)
        self.log = folder / "worker.log"
        self.app = Umbel("shop", broker=url, backend=url, set_as_current=False)
        settings = {"UMBEL_BROKER_URL": url, "UMBEL_RESULT_BACKEND": url}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-l", "INFO", "-c", "2"],
                cwd=folder,
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, name: str) -> Any:
        return self.app.send_task(name).get(timeout=60)

    def close(self) -> None:
        self.app.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)


@pytest.fixture(params=["sqlite", "redis"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, url_of: Callable[[str], str]
) -> Iterator[Site]:
    made = Site(tmp_path, url_of(request.param))
    yield made
    made.close()


@pytest.mark.skipif(sys.platform == "win32", reason="prefork needs POSIX")
def test_a_pool_of_processes_keeps_its_tasks_and_forbids_waiting(site: Site) -> None:
    runs = [site.run("count") for _ in range(8)]
    calls_by_process: dict[int, list[int]] = {}
    for pid, made, calls in runs:
        assert made == 1
        calls_by_process.setdefault(pid, []).append(calls)

    # What a task keeps on itself stays, in each process by itself.
    assert all(calls == list(range(1, len(calls) + 1)) for calls in calls_by_process.values())
    with pytest.raises(RuntimeError, match="within a task"):
        site.run("waits")
    assert site.run("allowed") == 1
    [refused] = site.run("thread")
    assert "within a task" in refused
    assert site.run("progress") == "HALF"


def test_an_absent_redis_is_an_error_in_time_for_every_way_to_ask() -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    with Umbel("shop", broker=url, backend=url, set_as_current=False) as app:
        task: Task[..., None] = app.task(name="it")(lambda: None)
        ways: list[Callable[[], object]] = [
            task.delay,
            lambda: task.apply_many([()]),
            lambda: app.send_task("it"),
            lambda: app.AsyncResult("a").state,
            lambda: app.AsyncResult("a").get(timeout=60),
        ]
        for way in ways:
            started = time.monotonic()
            with pytest.raises(AWAY, match=r"127\.0\.0\.1:1") as caught:
                way()
            assert time.monotonic() - started < 30
            assert "secret" not in str(caught.value)
