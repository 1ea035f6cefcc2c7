"""What the fault tests count with: a file to which every task appends what it does.

One ``write`` of a short line to a file opened with ``O_APPEND`` is atomic, and survives the
death of the process that made it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

__all__ = ["Ledger", "Tree", "until"]


class Ledger:
    """Reads the file: lines of an event and a number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def count(self, event: str) -> Counter[int]:
        """How often each number had ``event``."""
        counted: Counter[int] = Counter()
        for line in self.path.read_text().splitlines():
            kind, _, number = line.partition(" ")
            if kind == event:
                counted[int(number)] += 1
        return counted

    def last(self, event: str) -> int:
        """The number that had ``event`` last."""
        lines = (line.partition(" ") for line in self.path.read_text().splitlines())
        return [int(number) for kind, _, number in lines if kind == event][-1]


class Tree:
    """A worker and everything it forks: a process group of its own."""

    def __init__(
        self, folder: Path, *arguments: str, env: dict[str, str], app: str = "tasks"
    ) -> None:
        self.log = folder / "worker.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "umbel", "-A", app, "worker", *arguments],
                cwd=folder,
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End all of it at once, with SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, timeout: float = 30) -> int:
        """Ask it to finish, with SIGTERM; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def children(self) -> list[int]:
        """The processes below the worker's own."""
        found: list[int] = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid and int(stat.parent.name) != self.process.pid:
                found.append(int(stat.parent.name))
        return found


def until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for what another process does; it has no way to tell us."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
