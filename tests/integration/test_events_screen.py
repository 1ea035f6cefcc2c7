"""``umbel events`` on a terminal, as a person sees it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel

pty = pytest.importorskip("pty")

PATIENCE = 60.0


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.terminal, program = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umbel", "-b", url, "events"],
            cwd=folder,
            stdin=program,
            stdout=program,
            stderr=program,
            env={**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "120"},
            start_new_session=True,
        )
        os.close(program)
        self.seen = ""

    def until(self, text: str) -> None:
        """Wait until the text has been on the screen."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.terminal], [], [], 0.2)[0]:
                data = os.read(self.terminal, 65536).decode(errors="replace")
                self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\([A-Z]", "", data)

    def press(self, key: str) -> None:
        self.seen = ""
        os.write(self.terminal, key.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    made = Screen(tmp_path, f"sqlite:///{tmp_path}/q.db")
    yield made
    made.close()


def test_the_screen_shows_tasks_and_lets_one_look_into_them(screen: Screen, tmp_path: Path) -> None:
    app = Umbel("client", broker=f"sqlite:///{tmp_path}/q.db", set_as_current=False)
    screen.until("No tasks yet")
    done = threading.Event()

    def tell() -> None:
        # As a worker does, again and again: whoever listens may not have listened yet.
        with app.events.Dispatcher(hostname="w@here") as dispatcher:
            while not done.is_set():
                fields = {"name": "shop.mail", "args": "('you',)", "kwargs": "{}", "retries": 0}
                dispatcher.send("worker-heartbeat", freq=2)
                dispatcher.send("task-received", uuid="id-1", **fields, eta=None, expires=None)
                dispatcher.send("task-failed", uuid="id-1", exception="Oh()", traceback="line 7")
                done.wait(0.3)

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        screen.until("shop.mail")
        screen.until("w@here")
        screen.until("FAILURE")
        for key, shown in (("i", "args: ('you',)"), ("t", "line 7"), ("r", "Oh()")):
            screen.press(key)
            screen.until(shown)
            screen.press(" ")
            screen.until("Keys:")
        screen.press("q")
        assert screen.process.wait(PATIENCE) == 0
    finally:
        done.set()
        telling.join()
        app.close()
