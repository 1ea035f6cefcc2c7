"""``kill -9`` of worker trees and of pool children: nothing is lost, nothing else is touched."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.measured import SECOND, SLACK
from umbel import Umbel
from umbel.exceptions import WorkerLostError

from .ledger import Ledger, Tree, until

# They clock what happens within a second, and kill at moments that load would move.
pytestmark = pytest.mark.alone

KILLS = int(os.environ.get("UMBEL_KILLS", "6"))
CONCURRENCY = 2

TASKS = """
import os, signal, time
from umbel import Umbel

app = Umbel("kills")
app.conf.worker_lease = float(os.environ.get("LEASE", 20))
ledger = os.open(os.environ["LEDGER"], os.O_APPEND | os.O_WRONLY)


def note(event, number):
    os.write(ledger, f"{event} {number}\\n".encode())


@app.task(acks_late=True)
def short(number):
    note("start", number)
    time.sleep(0.001)
    note("end", number)


@app.task(acks_late=True, reject_on_worker_lost=True)
def late(number, seconds):
    note("start", number)
    note("pid", os.getpid())
    time.sleep(seconds)
    note("end", number)
    return number


@app.task
def early(number, seconds):
    note("start", number)
    note("pid", os.getpid())
    time.sleep(seconds)
    note("end", number)
    return number


@app.task(acks_late=True)
def late_without_reject(number, seconds):
    note("start", number)
    note("pid", os.getpid())
    time.sleep(seconds)
    return number
"""


class Site:
    """A project folder with tasks, a broker, a ledger, and a client of it."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "tasks.py").write_text(TASKS)
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.env = {
            "LEDGER": str(self.ledger.path),
            "UMBEL_BROKER_URL": url,
            "UMBEL_RESULT_BACKEND": url,
            "PYTHONPATH": str(folder),
        }
        self.app = Umbel("kills", broker=url, backend=url, set_as_current=False)

    def worker(self, *arguments: str) -> Tree:
        return Tree(self.folder, "-c", str(CONCURRENCY), *arguments, env=self.env)

    def has_started_more(self, than: int) -> bool:
        return sum(self.ledger.count("start").values()) > than


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'queue.db'}"
    else:
        url = request.getfixturevalue("redis_url")
    site = Site(tmp_path, url)
    yield site
    site.app.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments_lose_nothing_and_repeat_only_what_ran(site: Site) -> None:
    rng = random.Random(20261121)
    total = KILLS * 400
    site.app.send_many({"task": "tasks.short", "args": [n]} for n in range(total))

    for _ in range(KILLS):
        started_before = sum(site.ledger.count("start").values())
        worker = site.worker()
        until(partial(site.has_started_more, started_before), 60, "the worker runs tasks")
        time.sleep(rng.uniform(0.0, 0.2))
        worker.kill()
    worker = site.worker()
    until(lambda: len(site.ledger.count("end")) == total, 90, "every task has run")
    code = worker.stop()

    starts = site.ledger.count("start")
    repeated = sum(starts.values()) - total
    print(f"{repeated} of {total} tasks ran again after {KILLS} kills")
    assert code == 0
    # What ran when the kill came, and nothing else.
    assert repeated <= KILLS * CONCURRENCY


def victim(site: Site) -> int:
    until(lambda: bool(site.ledger.count("pid")), 60, "the task has started")
    return next(iter(site.ledger.count("pid")))


def test_a_late_task_whose_child_is_killed_runs_again(site: Site) -> None:
    worker = site.worker()
    result = site.app.send_task("tasks.late", (1, 1.0))
    os.kill(victim(site), signal.SIGKILL)

    assert result.get(timeout=40) == 1
    assert site.ledger.count("start") == {1: 2}
    assert site.ledger.count("end") == {1: 1}
    assert worker.stop() == 0


@pytest.mark.parametrize("name", ["early", "late_without_reject"])
def test_a_task_whose_child_is_killed_otherwise_fails_with_worker_lost(
    site: Site, name: str
) -> None:
    worker = site.worker()
    result = site.app.send_task(f"tasks.{name}", (1, 30.0))
    os.kill(victim(site), signal.SIGKILL)

    with pytest.raises(WorkerLostError, match="SIGKILL"):
        result.get(timeout=40)
    assert site.ledger.count("start") == {1: 1}
    assert worker.stop() == 0


def test_a_killed_child_touches_no_other_task_and_is_replaced_within_a_second(site: Site) -> None:
    worker = site.worker()
    lost = site.app.send_task("tasks.early", (1, 30.0))
    pid = victim(site)
    others = [site.app.send_task("tasks.early", (n, 0.01)) for n in range(2, 60)]
    before = len(worker.children())
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: not _exists(pid) and len(worker.children()) >= before, 60, "the pool is full")

    assert time.monotonic() - killed < SECOND
    assert [other.get(timeout=40) for other in others] == list(range(2, 60))
    with pytest.raises(WorkerLostError):
        lost.get(timeout=40)
    assert worker.stop() == 0


def test_early_tasks_of_a_killed_worker_fail_when_their_lease_has_run_out(site: Site) -> None:
    # The default is 20; waiting for it proves nothing more.
    lease = 4.0
    site.env["LEASE"] = str(lease)
    worker = site.worker()
    results = [site.app.send_task("tasks.early", (n, 60.0)) for n in range(CONCURRENCY)]
    started = partial(site.has_started_more, CONCURRENCY - 1)
    until(started, 60, "the tasks have started")
    worker.kill()
    killed = time.monotonic()
    fresh = site.app.send_task("tasks.early", (9, 0.0))
    successor = site.worker()

    assert fresh.get(timeout=60) == 9
    for result in results:
        with pytest.raises(WorkerLostError, match="had begun the task is gone"):
            result.get(timeout=60)
    assert time.monotonic() - killed < 1.5 * lease + SLACK
    assert set(site.ledger.count("start").values()) == {1}
    assert successor.stop() == 0


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
