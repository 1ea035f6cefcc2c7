"""The functions behind the tasks of both sides: the same work, whoever runs it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def queues() -> list[str]:
    """The queues of this worker, beside a broadcast one."""
    return os.environ["INTEROP_QUEUES"].split(",")


def note(path: str, text: str) -> None:
    """Add one line to a file that several processes write to."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    """Give back what came."""
    return [list(args), kwargs]


def record(path: str, side: str, number: int) -> int:
    """Leave a trace of every run, and take long enough for two workers to share the queue."""
    note(path, f"{side} {number}")
    time.sleep(0.004)
    return number


def gather(values: list[Any], path: str, side: str) -> list[Any]:
    """The body of a chord: leave a trace, and give back what came."""
    note(path, f"{side} body")
    return values


def slow(path: str, side: str, seconds: float) -> str:
    """Say when it began and when it ended."""
    note(path, f"{side} begin {time.time()}")
    time.sleep(seconds)
    note(path, f"{side} end {time.time()}")
    return side


def sleep(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> None:
    """Until somebody makes that file."""
    deadline = time.monotonic() + 30
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
