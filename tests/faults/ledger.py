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
from dataclasses import replace
from pathlib import Path

from .accounts import Run

__all__ = ["Ledger", "Tree", "until"]


class Ledger:
    """Reads the file: lines of an event, a number, and perhaps who and when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._read = 0
        self._lines: list[list[str]] = []
        self._counts: dict[str, Counter[int]] = {}

    def count(self, event: str) -> Counter[int]:
        """How often each number had ``event``."""
        self._lines_now()
        return Counter(self._counts.get(event, ()))

    def total(self, event: str) -> int:
        """How often there was ``event``."""
        self._lines_now()
        return self._counts[event].total() if event in self._counts else 0

    def runs(self, began: str = "start", ended_by: str = "end") -> list[Run]:
        """What is known of every run of a task that says who and when."""
        runs: dict[tuple[str, str], Run] = {}
        ended: list[Run] = []
        for event, number, *rest in self._lines_now():
            if event not in (began, ended_by):
                continue
            group, pid, slot, at, *kind = rest
            where = number, slot
            if event == began:
                if where in runs:
                    ended.append(runs.pop(where))
                runs[where] = Run(
                    *(int(number), int(group), int(pid), float(at)),
                    once="once" in kind,
                    deadly="deadly" in kind,
                )
            elif where in runs:
                ended.append(replace(runs.pop(where), end=float(at)))
        return [*ended, *runs.values()]

    def seen(self, group: int) -> float:
        """When one of that worker's processes did anything last; 0.0: never."""
        times = (float(line[5]) for line in self._lines_now() if line[2] == str(group))
        return max(times, default=0.0)

    def last(self, event: str) -> int:
        """The number that had ``event`` last."""
        return [int(number) for kind, number, *_ in self._lines_now() if kind == event][-1]

    def _lines_now(self) -> list[list[str]]:
        with self.path.open() as file:
            file.seek(self._read)
            text = file.read()
        # A line that reaches into another page may be there in part.
        text = text[: text.rfind("\n") + 1]
        self._read += len(text)
        for line in text.splitlines():
            fields = line.split(" ")
            self._lines.append(fields)
            self._counts.setdefault(fields[0], Counter())[int(fields[1])] += 1
        return self._lines


class Tree:
    """A worker, or what else the command line starts, and everything it forks: a process group of
    its own."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str],
        app: str = "tasks",
        command: str = "worker",
        program: str = "umbel",
    ) -> None:
        self.log = folder / f"{command}.log"
        self.killed: tuple[float, float] | None = None
        """Between which two moments."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, "-A", app, command, *arguments],
                cwd=folder,
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End all of it at once, with SIGKILL."""
        begin = time.monotonic()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.killed = self.killed or (begin, time.monotonic())

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
