"""Health of worker processes, as orchestrators see it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.testing.faults import FaultPlan, faulty_broker
from umbel.testing.servers import RedisServer
from umbel.worker import Worker

from .site import Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

TASKS = """
import time
from umbel import Umbel

app = Umbel("shop")


@app.task(name="work")
def work(seconds=0.0):
    time.sleep(seconds)
    return seconds
"""


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("sqlite", TASKS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asked(port: int, path: str) -> tuple[int, Any]:
    """Status and body; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, None


def test_it_is_live_before_it_is_ready_and_not_ready_when_it_ends(tmp_path: Path) -> None:
    server = RedisServer()
    server.start()
    url = server.url()
    server.stop()
    port = free_port()
    site = Site(tmp_path, url, TASKS)
    try:
        process = site.worker("-c", "1", "--health-port", str(port))
        site.until(lambda: asked(port, "/livez")[0] == 200, "it lives")
        assert asked(port, "/readyz")[1]["status"] == "starting"
        assert asked(port, "/readyz")[0] == 503

        server.start()
        site.until(lambda: asked(port, "/readyz")[0] == 200, "it works")
        running = site.app.send_task("work", (2.0,))
        site.until(lambda: asked(port, "/readyz")[1]["active"] == 1, "a task runs")
        process.send_signal(signal.SIGTERM)
        site.until(lambda: asked(port, "/readyz")[0] == 503, "it ends")
        assert asked(port, "/readyz")[1]["status"] == "ending"
        assert asked(port, "/livez")[0] == 200
        assert running.get(timeout=60) == 2.0
        assert process.wait(60) == 0
    finally:
        site.close()
        server.remove()


def test_a_file_shows_by_its_age_that_it_lives_and_by_its_content_that_it_works(
    site: Site,
) -> None:
    process = site.ready("-c", "1", "--heartbeat-file", "%n.alive")
    file = site.folder / "celery.alive"
    site.until(lambda: file.exists() and file.read_text() == "ready\n", "it says ready")
    before = file.stat().st_mtime_ns

    site.until(lambda: file.stat().st_mtime_ns > before, "it is written again")
    assert time.time() - file.stat().st_mtime < 10
    assert site.end(process, signal.SIGTERM) == 0
    assert not file.exists()


def test_systemd_is_told_when_it_is_ready_that_it_lives_and_when_it_stops(site: Site) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(site.folder / "notify"))
        listener.settimeout(60)
        process = site.ready(
            "-c", "1", NOTIFY_SOCKET=str(site.folder / "notify"), WATCHDOG_USEC="400000"
        )
        heard = [listener.recv(1000) for _ in range(5)]
        assert site.end(process, signal.SIGTERM) == 0
        listener.settimeout(0.5)
        try:
            while True:
                heard.append(listener.recv(1000))
        except TimeoutError:
            pass

    assert sum(each.startswith(b"READY=1") for each in heard) == 1
    assert heard.count(b"WATCHDOG=1") >= 3
    assert sum(each.startswith(b"STOPPING=1") for each in heard) == 1


def test_systemd_hears_of_a_reload_when_the_worker_is_to_restart(site: Site) -> None:
    # Whoever says STOPPING=1 is killed when TimeoutStopSec is over.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(site.folder / "notify"))
        listener.settimeout(60)
        process = site.ready("-c", "1", NOTIFY_SOCKET=str(site.folder / "notify"))
        process.send_signal(signal.SIGHUP)
        heard = [listener.recv(1000) for _ in range(3)]
        assert site.end(process, signal.SIGTERM) == 0
        heard.append(listener.recv(1000))

    first = [each.split(b"=")[0] for each in heard]
    assert first == [b"READY", b"RELOADING", b"READY", b"STOPPING"]
    assert re.search(rb"^MONOTONIC_USEC=[0-9]+$", heard[1], re.MULTILINE)


def test_a_port_that_is_taken_ends_the_worker_with_a_sentence(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        process = site.worker("-c", "1", "--health-port", str(taken.getsockname()[1]))

        assert process.wait(30) == 1
    log = site.log.read_text()
    assert re.search(r"cannot listen on 0\.0\.0\.0:\d+", log)
    assert "Traceback" not in log


async def test_a_worker_that_gets_nothing_although_there_is_something_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = Umbel("deaf", broker=f"memory://{tmp_path}", set_as_current=False)
    app.conf.worker_stall_timeout = 0.4
    plan = FaultPlan()

    async def nothing(_: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0.02)
        return []

    plan.always("receive", nothing)
    make_broker = app.make_broker
    monkeypatch.setattr(app, "make_broker", lambda: faulty_broker(make_broker(), plan))

    @app.task
    def work() -> None:
        """Nobody comes to it."""

    await work.adelay()
    async with asyncio.timeout(30):
        code = await Worker(app, pool="threads", concurrency=1, quiet=True).arun()

    assert code == 1
    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, text in lines if "1 messages wait" in text] == ["ERROR", "CRITICAL"]
    await app.aclose()
