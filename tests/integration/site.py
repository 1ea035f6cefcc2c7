"""A project folder, its worker processes and a client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from umbel import Umbel

__all__ = ["EARLY_AND_LATE", "Site"]

EARLY_AND_LATE = """
import os, time
from umbel import Umbel

app = Umbel("shop")
notes = os.open("notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


@app.task(name="early")
def early(number, seconds=0.0):
    os.write(notes, f"{number}\\n".encode())
    time.sleep(seconds)
    return number


@app.task(name="late", acks_late=True)
def late(number, seconds=0.0):
    os.write(notes, f"{number}\\n".encode())
    time.sleep(seconds)
    return number
"""
"""Tasks that note when they start: one is acknowledged before that, the other when it ends."""

_STEERING = """
import asyncio, inspect, json
from pathlib import Path
from umbel import signals

steering = set()


@signals.worker_ready.connect
def steer(sender, **_):
    steering.add(asyncio.get_running_loop().create_task(obey(sender)))


async def obey(worker):
    while True:
        for order in Path("orders").glob("*.json"):
            method, args, named = json.loads(order.read_text())
            order.unlink()
            returned = getattr(worker, method)(*args, **named)
            if inspect.isawaitable(returned):
                returned = await returned
            draft = order.with_suffix(".return")
            draft.write_text(json.dumps(returned))
            draft.rename(order.with_suffix(".answer"))
        await asyncio.sleep(0.02)
"""
"""Lets tests call the worker's methods, as remote control does."""


class Site:
    """A project folder with tasks and a queue, and a client of it."""

    def __init__(self, folder: Path, url: str, tasks: str, backend: str | None = None) -> None:
        (folder / "tasks.py").write_text(tasks + _STEERING)
        (folder / "orders").mkdir(exist_ok=True)
        self.folder = folder
        self.url = url
        self.backend = backend or url
        self.log = folder / "worker.log"
        self.app = Umbel("shop", broker=url, backend=self.backend, set_as_current=False)
        self._orders = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-l", "INFO"]
        settings = {"UMBEL_BROKER_URL": self.url, "UMBEL_RESULT_BACKEND": self.backend}
        if all(process.poll() is not None for process in self.processes):
            self.log.write_text("")
        # Those that run side by side write one below the other.
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, *(arguments or ("-c", "2"))],
                cwd=self.folder,
                env={**os.environ, **settings, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def ready(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        others = any(process.poll() is None for process in self.processes)
        before = self.log.read_text().count(" ready.") if others else 0
        process = self.worker(*arguments, **environment)
        self.until(lambda: self.log.read_text().count(" ready.") > before, "the worker is ready")
        return process

    def started(self) -> list[int]:
        """The numbers of the tasks that were started, in order."""
        notes = self.folder / "notes"
        return [int(line) for line in notes.read_text().split()] if notes.exists() else []

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what another process does; it has no way to tell us."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not in time\n{self.log.read_text()}"
            time.sleep(0.02)

    def end(self, process: subprocess.Popen[bytes], number: signal.Signals) -> int:
        """Send a signal of the OS; returns the exit code."""
        process.send_signal(number)
        return process.wait(60)

    def order(self, method: str, *args: Any, **named: Any) -> Any:
        """Call a method of the worker, in its process; returns what that returns."""
        self._orders += 1
        order = self.folder / "orders" / f"{self._orders}.json"
        answer = order.with_suffix(".answer")
        draft = order.with_suffix(".draft")
        draft.write_text(json.dumps([method, args, named]))
        draft.rename(order)
        self.until(answer.exists, f"an answer to {method}")
        return json.loads(answer.read_text())

    def close(self) -> None:
        self.app.close()
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
