"""Several processes share one SQLite file, and some of them are killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from umbel.clock import SystemClock
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.model import Message, ResultRecord

SIDE = Path(__file__).parent / "side.py"


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SIDE), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> list[list[str]]:
    """What each of them printed, once all have ended well."""
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def intact(path: Path) -> bool:
    with sqlite3.connect(path) as database:
        [(answer,)] = database.execute("PRAGMA integrity_check")
    database.close()
    return bool(answer == "ok")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "umbel.db"


def test_two_producers_and_two_consumers_share_a_file(path: Path) -> None:
    producers = [start("produce", path, name, 2500) for name in ("a", "b")]
    consumers = [start("consume", path, 5000) for _ in range(2)]

    finish(*producers)
    taken = finish(*consumers)

    expected = {f"{name}-{number}" for name in ("a", "b") for number in range(2500)}
    assert len(taken[0]) + len(taken[1]) == 5000
    assert {*taken[0], *taken[1]} == expected
    assert intact(path)


@pytest.mark.parametrize("after", [1, 40, 90])
async def test_what_a_killed_producer_had_confirmed_is_there_once(path: Path, after: int) -> None:
    producer = start("produce", path, "a", 100_000)
    assert producer.stdout is not None
    confirmed: list[str] = []
    for _ in range(after):
        confirmed += producer.stdout.readline().split()
    producer.kill()
    confirmed += producer.stdout.read().split()
    producer.stdout.close()
    producer.wait()

    assert intact(path)
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    found: list[str] = []
    while deliveries := await broker.receive(["q"], limit=500, wait=0):
        found += [delivery.message.id for delivery in deliveries]
        await broker.ack(deliveries)
    await broker.close()
    assert len(found) == len(set(found))
    assert set(confirmed) <= set(found)
    # A batch is there whole or not at all.
    assert len(found) % 10 == 0


async def test_killed_workers_leave_every_message_done_whole_or_not_at_all(path: Path) -> None:
    broker = SQLiteBroker(path, clock=SystemClock(), lease=0.3)
    backend = SQLiteBackend(path, clock=SystemClock())
    await broker.open()
    await backend.open()
    names = [f"task-{number}" for number in range(600)]
    followed: list[str] = []
    for number in range(6):
        batch = names[number * 100 : number * 100 + 100]
        await broker.publish([Message(id=name, body=b"", routing_key="q") for name in batch])
        worker = start("work", path)
        assert worker.stdout is not None
        worker.stdout.readline()
        # In the middle of it: it has begun, and has not seen everything.
        arrived = await broker.receive(["next"], limit=50, wait=10)
        worker.kill()
        followed += [delivery.message.id for delivery in arrived]
        assert await broker.ack(arrived) == []
        worker.stdout.close()
        worker.wait()
        assert intact(path)

    worker = start("work", path)
    async with asyncio.timeout(100):
        while len(followed) < len(names):
            arrived = await broker.receive(["next"], limit=500, wait=5)
            followed += [delivery.message.id for delivery in arrived]
            assert await broker.ack(arrived) == []
    worker.kill()
    assert worker.stdout is not None
    worker.stdout.close()
    worker.wait()

    assert sorted(followed) == sorted(names)
    assert set(await backend.load(names)) == set(names)
    await broker.close()
    await backend.close()


async def test_a_watcher_in_another_process_hears_at_once(path: Path) -> None:
    backend = SQLiteBackend(path, clock=SystemClock())
    await backend.open()
    watcher = start("wait", path, "a")
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "waiting\n"

    await backend.store([ResultRecord(id="a", state="SUCCESS", body=b"{}")])

    assert (await asyncio.to_thread(watcher.communicate, timeout=10))[0] == "SUCCESS\n"
    await backend.close()


FORKING = """
import asyncio, contextlib, os, sqlite3, sys
from umbel.clock import SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.model import Message

path = sys.argv[1]

def batch(name):
    return [Message(id=f"{name}-{n}", body=b"x" * 2000, routing_key="q") for n in range(50)]

async def child(inherited):
    own = SQLiteBroker(path, clock=SystemClock())
    await own.open()
    for _ in range(20):
        await own.publish(batch("child"))
    await inherited.publish(batch("inherited"))
    await inherited.close()
    await own.close()

async def main():
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    await broker.publish([Message(id="held", body=b"", routing_key="held")])
    held = await broker.receive(["held"], limit=1, wait=1)
    receiving = asyncio.create_task(broker.receive(["wake"], limit=1, wait=30))
    busy = [asyncio.create_task(broker.publish(batch("before"))) for _ in range(20)]
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        return broker
    for _ in range(20):
        await broker.publish(batch("parent"))
    await asyncio.gather(*busy)
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
    assert await broker.ack(held) == [], "the child gave back what the parent holds"
    await broker.publish([Message(id="wake", body=b"", routing_key="wake")])
    assert [d.message.id for d in await receiving] == ["wake"]
    assert (await broker.stats(["q"]))["q"].ready == 50 * (20 + 20 + 20 + 1)
    await broker.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)

loop = asyncio.new_event_loop()
inherited = loop.run_until_complete(main())
if inherited is not None:
    # What the parent's tasks wait for will never come here.
    loop.set_exception_handler(lambda *_: None)
    asyncio.run(child(inherited))
    os._exit(0)
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_writing_hurts_neither_side(path: Path) -> None:
    program = textwrap.dedent(FORKING)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", program, path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


LEFT = """
import asyncio, sys, threading, time
from umbel.clock import SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.model import Message

async def main():
    broker = SQLiteBroker(sys.argv[1], clock=SystemClock())
    await broker.open()
    await broker.publish([Message(id="a", body=b"", routing_key="q")])

asyncio.run(main())
for thread in threading.enumerate():
    if thread.name == "umbel-sqlite":
        thread.join(60)
        assert not thread.is_alive()
"""


def test_the_thread_of_a_broker_that_was_left_open_ends_with_it(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT, path], capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


THREADS = """
import asyncio, os, sys, threading
from umbel.clock import SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.model import Message

def fork():
    for _ in range(60):
        if not (pid := os.fork()):
            os._exit(0)
        os.waitpid(pid, 0)

async def main():
    broker = SQLiteBroker(sys.argv[1], clock=SystemClock())
    await broker.open()
    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads:
        thread.start()
    sent = 0
    while any(thread.is_alive() for thread in threads):
        await broker.publish([Message(id=f"{sent}", body=b"", routing_key="q")])
        sent += 1
    await broker.publish([Message(id="last", body=b"", routing_key="q")])
    assert (await broker.stats(["q"]))["q"].ready == sent + 1
    await broker.close()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_threads_may_fork_at_the_same_time(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", THREADS, path],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
