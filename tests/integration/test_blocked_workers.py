"""Workers that do not move: a task has the interpreter's lock, or blocks the loop, or the process
was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from .site import Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
embedded = pytest.mark.parametrize("site", ["sqlite"], indirect=True)

LEASE = 4
TASKS = f"""
import ctypes, os, time
from umbel import Umbel

app = Umbel("shop")
app.conf.worker_lease = {LEASE}
app.conf.broker_heartbeat = float(os.environ.get("HEARTBEAT", 8))
app.conf.worker_blocked_timeout = float(os.environ.get("LIMIT", 3600))
notes = os.open("notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


@app.task(name="hog", acks_late=True)
def hog(number, seconds):
    os.write(notes, f"{{number}}\\n".encode())
    # Unlike CDLL, it keeps the interpreter's lock.
    ctypes.PyDLL(None).sleep(seconds)
    return number


@app.task(name="wait", acks_late=True)
def wait(number, seconds):
    os.write(notes, f"{{number}}\\n".encode())
    time.sleep(seconds)
    return number
"""


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, make_site: Callable[[str, str], Site]) -> Site:
    return make_site(request.param, TASKS)


@pytest.fixture
def rabbitmq_site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("rabbitmq", TASKS)


def deputies(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that stand in for a worker."""
    found = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    return [
        int(pid)
        for pid, parent, program in rows
        if int(parent) == process.pid and "duty.py" in program
    ]


def is_there(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, check=False)
    return found.stdout.strip()[:1] not in (b"", b"Z")


def test_a_task_that_has_the_interpreter_to_itself_runs_once(site: Site) -> None:
    pools = ["threads", "asyncio", "solo"]
    processes = [
        site.worker("-P", pool, "-c", "1", "-Q", f"q{number}", "-n", f"{pool}@%h")
        for number, pool in enumerate(pools)
    ]
    results = [
        site.app.send_task("hog", (number, round(LEASE * 2.5)), queue=f"q{number}")
        for number in range(len(pools))
    ]
    site.until(lambda: sorted(site.started()) == [0, 1, 2], "all have begun")

    rival = site.ready("-P", "threads", "-Q", "q0,q1,q2", "-n", "rival@%h")

    assert [result.get(timeout=60) for result in results] == [0, 1, 2]
    assert sorted(site.started()) == [0, 1, 2]
    for process in (*processes, rival):
        assert site.end(process, signal.SIGTERM) == 0


def test_a_connection_to_rabbitmq_lives_as_long_as_a_worker_that_does_not_move(
    rabbitmq_site: Site,
) -> None:
    site = rabbitmq_site
    # RabbitMQ gives up a connection that is silent for six seconds at the latest.
    heartbeat = {"HEARTBEAT": "2"}
    processes = [
        site.worker("-P", pool, "-c", "1", "-Q", pool, "-n", f"{pool}@%h", **heartbeat)
        for pool in ("threads", "solo")
    ]
    results = [
        site.app.send_task("hog", (number, 15), queue=pool)
        for number, pool in enumerate(("threads", "solo"))
    ]
    site.until(lambda: sorted(site.started()) == [0, 1], "both have begun")

    rival = site.ready("-P", "threads", "-Q", "threads,solo", "-n", "rival@%h", **heartbeat)

    assert [result.get(timeout=60) for result in results] == [0, 1]
    assert sorted(site.started()) == [0, 1]
    for process in (*processes, rival):
        assert site.end(process, signal.SIGTERM) == 0


def test_a_stopped_worker_with_rabbitmq_loses_what_it_has(rabbitmq_site: Site) -> None:
    site = rabbitmq_site
    process = site.ready("-P", "threads", "-c", "1", HEARTBEAT="2")
    result = site.app.send_task("wait", (1, 4))
    site.until(lambda: site.started() == [1], "it has begun")

    process.send_signal(signal.SIGSTOP)
    rival = site.ready("-P", "threads", "-c", "1")

    assert result.get(timeout=60) == 1
    assert site.started() == [1, 1]
    process.send_signal(signal.SIGCONT)
    for each in (process, rival):
        assert site.end(each, signal.SIGTERM) == 0


def test_a_stopped_worker_loses_what_it_has(site: Site) -> None:
    process = site.ready("-P", "threads", "-c", "1")
    result = site.app.send_task("wait", (1, 4))
    site.until(lambda: site.started() == [1], "it has begun")

    process.send_signal(signal.SIGSTOP)
    rival = site.ready("-P", "threads", "-c", "1")

    assert result.get(timeout=60) == 1
    assert site.started() == [1, 1]
    process.send_signal(signal.SIGCONT)
    for each in (process, rival):
        assert site.end(each, signal.SIGTERM) == 0


@embedded
def test_a_worker_that_does_not_move_for_too_long_loses_what_it_has(site: Site) -> None:
    site.ready("-P", "threads", "-c", "1", LIMIT="2")
    site.app.send_task("hog", (1, 60))
    site.until(lambda: site.started() == [1], "it has begun")

    site.worker("-P", "prefork", "-c", "1")

    site.until(lambda: site.started() == [1, 1], "the other one has begun")


@embedded
def test_a_deputy_that_dies_has_a_successor_who_ends_with_the_worker(site: Site) -> None:
    process = site.ready("-P", "solo")
    site.until(lambda: len(deputies(process)) == 1, "it has a deputy")
    [first] = deputies(process)

    os.kill(first, signal.SIGKILL)

    site.until(lambda: deputies(process) not in ([], [first]), "it has another")
    [second] = deputies(process)
    assert "there will be another" in site.log.read_text()
    process.kill()
    process.wait(60)
    site.until(lambda: not is_there(second), "the other one has ended too")


@embedded
def test_processes_that_tasks_have_to_themselves_need_no_deputy(site: Site) -> None:
    process = site.ready("-P", "prefork", "-c", "1")

    assert deputies(process) == []
    assert site.end(process, signal.SIGTERM) == 0
