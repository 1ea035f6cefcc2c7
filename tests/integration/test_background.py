"""Workers and beats in the background: ``--detach`` and ``umbel multi``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

TASKS = """
from datetime import timedelta
from umbel import Umbel

app = Umbel("shop", broker="sqlite:///queue.db", beat_schedule={
    "often": {"task": "shop.add", "schedule": timedelta(seconds=0.2), "args": (1, 2)},
})


@app.task(name="shop.add")
def add(x, y):
    return x + y
"""


class Folder:
    """A project whose processes in the background are ended with it."""

    def __init__(self, path: Path) -> None:
        (path / "tasks.py").write_text(TASKS)
        self.path = path

    def umbel(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "umbel", *arguments],
            cwd=self.path,
            env={**os.environ, "UMBEL_STATE_DIR": str(self.path / "state")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def pid(self, name: str) -> int:
        return int((self.path / name).read_text())

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    def close(self) -> None:
        for path in self.path.glob("**/*.pid"):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.close()


def test_a_worker_and_a_beat_in_the_background_work_and_end(folder: Folder) -> None:
    code, _, err = folder.umbel(
        *("-A", "tasks", "worker", "-D", "-c", "1", "-P", "threads", "-l", "INFO"),
        *("--pidfile", "%n.pid", "--logfile", "%n.log", "-n", "mail@here", "--umask", "077"),
    )
    assert (code, err) == (0, "")
    code, _, err = folder.umbel(
        *("-A", "tasks", "beat", "--detach", "--pidfile", "beat.pid", "-f", "beat.log"),
        *("-s", "schedule.db"),
    )
    assert (code, err) == (0, "")

    log = folder.path / "mail.log"
    folder.until(lambda: "succeeded in" in log.read_text(), "a periodic task was run")
    assert oct(log.stat().st_mode & 0o777) == "0o600"
    code, _, err = folder.umbel("-A", "tasks", "worker", "-D", "--pidfile", "mail.pid")
    assert code == 1
    assert "belongs to process" in err

    for name in ("beat.pid", "mail.pid"):
        os.kill(folder.pid(name), signal.SIGTERM)
    folder.until(lambda: not list(folder.path.glob("*.pid")), "both have ended")


def test_what_cannot_start_in_the_background_says_where_to_look(folder: Folder) -> None:
    code, _, err = folder.umbel(
        *("-A", "tasks", "worker", "--detach", "-f", "w.log", "-c", "many", "--pidfile", "w.pid")
    )

    assert code == 1
    assert "ended at once with exit code 2: see w.log" in err
    assert "many" in (folder.path / "w.log").read_text()


def test_several_workers_start_restart_and_stop(folder: Folder) -> None:
    nodes = ("2", "-P", "solo", "--pidfile=run/%n.pid", "--logfile=log/%n%I.log", "-Q:2", "mail")
    code, out, err = folder.umbel("-A", "tasks", "multi", "start", *nodes)
    assert (code, err) == (0, "")
    assert out.count(": OK") == 2
    first = folder.pid("run/celery1.pid")
    shown = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(folder.pid("run/celery2.pid"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-Q mail" in shown

    code, out, err = folder.umbel("-A", "tasks", "multi", "restart", *nodes)

    assert (code, err) == (0, "")
    assert folder.pid("run/celery1.pid") != first
    code, out, _ = folder.umbel("multi", "stopwait", *nodes, "--nosplash")
    assert code == 0
    assert out.count(": OK") == 2
    assert not list(folder.path.glob("run/*.pid"))
    assert folder.umbel("multi", "stop", *nodes)[1].count("DOWN") == 2
