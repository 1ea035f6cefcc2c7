"""Time limits and recycling, in worker processes: what the task sees, its caller, and the log."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable

import pytest

from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from .site import Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

TASKS = """
import asyncio, os, time
from umbel import Umbel, signals
from umbel.exceptions import SoftTimeLimitExceeded

app = Umbel("shop")


@signals.worker_process_init.connect
def born(sender, **_):
    print(f"born in {os.getpid()} of {sender}")


@signals.worker_process_shutdown.connect
def gone(sender, pid, exitcode, **_):
    print(f"gone: {pid == os.getpid()} {exitcode}")


@app.task(name="sleep")
def sleep(seconds):
    time.sleep(seconds)
    return "slept"


@app.task(name="asleep")
async def asleep(seconds):
    await asyncio.sleep(seconds)
    return "slept"


@app.task(name="tidy", soft_time_limit=0.3, time_limit=60)
def tidy():
    try:
        for _ in range(600):
            time.sleep(0.1)
    except SoftTimeLimitExceeded:
        return "tidied up"


@app.task(name="atidy", soft_time_limit=0.3, time_limit=60)
async def atidy():
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied up"


@app.task(name="pid")
def pid():
    return os.getpid()
"""


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("sqlite", TASKS)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
def test_limits_of_the_task_hold_in_every_pool(site: Site, pool: str) -> None:
    process = site.ready("-P", pool, "-c", "2", "-l", "INFO")
    caught = site.app.send_task("tidy"), site.app.send_task("atidy")
    failed = site.app.send_task("asleep", (60,), soft_time_limit=0.3)
    ended = site.app.send_task("asleep", (60,), time_limit=0.3)
    later = site.app.send_task("sleep", (0,))

    assert [result.get(timeout=30) for result in caught] == ["tidied up"] * 2
    with pytest.raises(SoftTimeLimitExceeded):
        failed.get(timeout=30)
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        ended.get(timeout=30)
    assert later.get(timeout=30) == "slept"
    assert site.end(process, signal.SIGTERM) == 0
    log = site.log.read_text()
    assert f"Soft time limit (0.3s) exceeded for tidy[{caught[0].id}]" in log
    assert f"Soft time limit (0.3s) exceeded for asleep[{failed.id}]" in log
    assert f"Hard time limit (0.3s) exceeded for asleep[{ended.id}]" in log
    assert f"Task asleep[{failed.id}] raised unexpected: SoftTimeLimitExceeded()" in log


def test_limits_of_the_worker_hold_where_nobody_says_otherwise(site: Site) -> None:
    process = site.ready("-c", "1", "--time-limit", "0.5", "--soft-time-limit", "0.25")
    interrupted = site.app.send_task("sleep", (60,))
    waiting = [site.app.send_task("sleep", (0,)) for _ in range(5)]
    allowed = site.app.send_task("sleep", (1.0,), time_limit=60, soft_time_limit=50)

    with pytest.raises(SoftTimeLimitExceeded):
        interrupted.get(timeout=30)
    assert [result.get(timeout=30) for result in waiting] == ["slept"] * 5
    assert allowed.get(timeout=30) == "slept"
    assert site.end(process, signal.SIGTERM) == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_are_recycled_however_they_start_and_their_life_is_told(
    site: Site, method: str
) -> None:
    process = site.ready(
        "-c", "1", "-n", "till@%h", "--max-tasks-per-child", "2", "--pool-start-method", method
    )
    pids = [site.app.send_task("pid") for _ in range(6)]

    assert len({result.get(timeout=60) for result in pids}) == 3
    assert site.end(process, signal.SIGTERM) == 0
    log = site.log.read_text()
    assert len(re.findall(r"born in \d+ of till@", log)) >= 3
    assert log.count("gone: True 0") >= 3


def test_a_worker_grows_with_what_there_is_to_do_and_shrinks_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    process = site.ready("--autoscale", "3,1", "-l", "INFO")
    results = [site.app.send_task("sleep", (2,)) for _ in range(3)]

    site.until(lambda: "Scaling up" in site.log.read_text(), "it grows")
    assert [result.get(timeout=30) for result in results] == ["slept"] * 3
    site.until(lambda: site.log.read_text().count("gone: True 0") == 2, "it shrinks")
    assert site.app.send_task("sleep", (0,)).get(timeout=30) == "slept"
    assert site.end(process, signal.SIGTERM) == 0
