"""A worker in processes of its own: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from umbel.exceptions import WorkerLostError

from .site import EARLY_AND_LATE, Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, make_site: Callable[[str, str], Site]) -> Site:
    return make_site(request.param, EARLY_AND_LATE)


def test_it_introduces_itself_runs_tasks_and_ends_when_told(site: Site) -> None:
    process = site.ready("-c", "1", "-n", "till@%h")
    results = [site.app.send_task("early", (number,)) for number in range(5)]

    assert [result.get(timeout=60) for result in results] == list(range(5))
    assert site.end(process, signal.SIGTERM) == 0
    log = site.log.read_text()
    assert re.search(r"till@\S+ ready\.", log)
    assert "worker: Warm shutdown (MainProcess)" in log
    assert re.search(r"INFO/MainProcess\] Connected to (sqlite|redis)://", log)
    assert ". early" in log
    assert re.search(rf"Task early\[{results[0].id}\] received", log)
    assert re.search(rf"Task early\[{results[0].id}\] succeeded in \S+s: 0", log)
    assert re.search(r"INFO/ForkPoolWorker-1\] Task early\[", log)


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_names_that_the_terminal_cannot_show_are_escaped(site: Site) -> None:
    process = site.ready("-c", "1", "-n", "früh@here", PYTHONIOENCODING="ascii")

    assert site.app.send_task("early", (1,)).get(timeout=60) == 1
    assert site.end(process, signal.SIGTERM) == 0
    assert r"fr\xfch@here" in site.log.read_text()


def test_workers_of_the_same_name_are_noticed(site: Site) -> None:
    processes = [site.ready("-P", "solo", "-n", "twin@here") for _ in range(2)]

    site.until(
        lambda: site.log.read_text().count("is called twin@here, too") == 2, "both have noticed"
    )
    for process in processes:
        site.end(process, signal.SIGTERM)


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_the_worker_has_celerys_title_and_can_be_found_by_its_command(site: Site) -> None:
    pytest.importorskip("setproctitle")
    process = site.ready("-P", "threads", "-n", "till@here")
    title = " ".join(psutil.Process(process.pid).cmdline())
    assert title.startswith("[celeryd: till@here:MainProcess] -active- (umbel -A tasks worker ")
    process.send_signal(signal.SIGHUP)
    site.until(lambda: site.log.read_text().count(" ready.") == 2, "a new one is ready")
    assert " ".join(psutil.Process(process.pid).cmdline()) == title
    assert site.end(process, signal.SIGTERM) == 0

    process = site.ready("-P", "threads", NOSETPS="1")
    assert "celeryd" not in " ".join(psutil.Process(process.pid).cmdline())
    assert site.end(process, signal.SIGTERM) == 0


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_each_process_of_the_pool_may_have_a_log_file_of_its_own(site: Site, method: str) -> None:
    own = site.folder / "celery.log"
    options = ("-c", "1", "-f", "%n%I.log", "--pool-start-method", method, "--max-tasks-per-child")
    process = site.worker(*options, "1")
    site.until(lambda: own.exists() and " ready." in own.read_text(), "the worker is ready")
    results = [site.app.send_task("early", (number,)) for number in range(6)]

    assert [result.get(timeout=60) for result in results] == list(range(6))
    assert site.end(process, signal.SIGTERM) == 0
    worker = own.read_text()
    numbered = {path.name: path.read_text() for path in site.folder.glob("celery-*.log")}
    for result in results:
        assert f"Task early[{result.id}] received" in worker
        assert f"Task early[{result.id}] succeeded" not in worker
        assert f"Task early[{result.id}] succeeded" in "".join(numbered.values())
    # The number of a process that has ended is free again; the next one may come before that.
    assert set(numbered) <= {"celery-1.log", "celery-2.log"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_warm_shutdown_finishes_what_runs_and_leaves_the_rest(
    site: Site, number: signal.Signals
) -> None:
    process = site.ready("-c", "1")
    names = ["early", "late"] * 3
    results = [site.app.send_task(name, (n, 0.7)) for n, name in enumerate(names)]
    site.until(lambda: bool(site.started()), "a task has started")

    assert site.end(process, number) == (0 if number == signal.SIGTERM else 1)
    done = site.started()
    assert len(done) <= 2

    process = site.ready("-c", "2")
    assert [result.get(timeout=30) for result in results] == list(range(6))
    assert sorted(site.started()) == list(range(6))
    assert site.end(process, signal.SIGTERM) == 0


def test_a_cold_shutdown_ends_at_once_and_gives_late_tasks_back(site: Site) -> None:
    process = site.ready("-c", "2")
    early = site.app.send_task("early", (1, 60.0))
    late = site.app.send_task("late", (2, 3.0))
    site.until(lambda: len(site.started()) == 2, "both tasks have started")

    asked = time.monotonic()
    assert site.end(process, signal.SIGQUIT) == 1
    assert time.monotonic() - asked < 30
    with pytest.raises(WorkerLostError):
        early.get(timeout=60)

    process = site.ready("-c", "2")
    assert late.get(timeout=60) == 2
    assert site.started().count(1) == 1
    assert site.end(process, signal.SIGTERM) == 0


def test_a_second_interrupt_does_not_wait(site: Site) -> None:
    process = site.ready("-c", "1")
    site.app.send_task("early", (1, 60.0))
    site.until(lambda: bool(site.started()), "the task has started")

    process.send_signal(signal.SIGINT)
    site.until(lambda: "Warm shutdown" in site.log.read_text(), "it has heard")
    assert site.end(process, signal.SIGINT) == 1


def test_a_hundred_unreadable_messages_are_one_line_each_and_no_obstacle(site: Site) -> None:
    process = site.ready()
    for number in range(100):
        site.app.send_task("early", (number,), serializer="yaml")
    good = [site.app.send_task("early", (number,)) for number in range(10)]

    assert [result.get(timeout=60) for result in good] == list(range(10))
    site.until(
        lambda: site.log.read_text().count("Received and deleted unknown message") == 100,
        "all have been reported",
    )
    assert site.end(process, signal.SIGTERM) == 0


def test_a_worker_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    site = Site(tmp_path, "redis://127.0.0.1:9/0", EARLY_AND_LATE)
    try:
        process = site.worker("-c", "1", "broker_connection_max_retries=1")
        site.until(lambda: "rying again" in site.log.read_text(), "it says what it waits for")

        assert process.poll() is None
        assert site.end(process, signal.SIGTERM) == 0
    finally:
        site.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="for root only")
def test_root_is_warned_unless_it_insists(tmp_path: Path) -> None:
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'queue.db'}", EARLY_AND_LATE)
    try:
        site.end(site.ready(), signal.SIGTERM)
        assert "C_FORCE_ROOT" in site.log.read_text()
        site.end(site.ready(C_FORCE_ROOT="1"), signal.SIGTERM)
        assert "C_FORCE_ROOT" not in site.log.read_text()
    finally:
        site.close()


PRICES = """
from tasks import app

now = {0}


@app.task(name="price")
def price():
    return now
"""


def test_a_restarted_pool_has_read_changed_modules_again(site: Site) -> None:
    code = site.folder / "prices.py"
    code.write_text(PRICES.format(1))
    tasks = site.folder / "tasks.py"
    tasks.write_text(tasks.read_text() + "\napp.conf.worker_pool_restarts = True\nimport prices\n")
    site.ready("-c", "1")
    assert site.app.send_task("price").get(timeout=30) == 1

    # Longer: Python tells a changed file by its size and its second.
    code.write_text(PRICES.format(1000))
    [reply] = site.app.control.pool_restart(modules=["prices"], reload=True, reply=True, timeout=20)
    assert list(reply.values()) == [{"ok": "reload started"}]
    site.until(lambda: site.app.send_task("price").get(timeout=30) == 1000, "the new price")
