"""``python -m examples.workflows --pool threads`` starts a worker and runs the three workflows."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from examples.workflows.tasks import (
    app,
    count_words,
    crawl,
    extract,
    fetch,
    load,
    most_common,
    squares,
    transform,
)
from umbel import chord, group

FILES = [
    ["10:00 INFO started", "10:01 ERROR disk full", "10:02 INFO cleaned up"],
    ["10:00 INFO hello", "10:05 WARNING slow", "10:09 ERROR gone"],
]
TEXTS = ["the quick brown fox", "the lazy dog", "the fox and the dog"]
PATIENCE = 60.0
"""Seconds that any of them may take."""


@contextmanager
def worker(pool: str) -> Iterator[None]:
    """A worker of our own."""
    command = [sys.executable, "-m", "umbel", "-A", "examples.workflows.tasks", "worker"]
    process = subprocess.Popen([*command, "--pool", pool, "-c", "2", "-l", "ERROR", "-q"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def show_progress(result: Any, total: int) -> None:
    """A bar that grows with the members that have ended."""
    deadline = time.monotonic() + PATIENCE
    done = -1
    while done < total and time.monotonic() < deadline:
        time.sleep(0.05)
        done = result.completed_count()
        bar = "#" * (40 * done // total)
        print(f"\r[{bar:<40}] {done:>{len(str(total))}}/{total}", end="", flush=True)
    print()


def main() -> None:
    """Run all three, and one that takes a while."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--squares", type=int, default=2000)
    arguments = parser.parse_args()
    with app, worker(arguments.pool):
        logs = group(extract.s(lines) | transform.s() for lines in FILES) | load.s()
        print("log levels:", logs.delay().get(timeout=PATIENCE))

        pages = chord([fetch.s("/")], crawl.s(seen=["/"]))
        print("pages:", pages.delay().get(timeout=PATIENCE))

        words = chord([count_words.s(text) for text in TEXTS], most_common.s(3))
        print("words:", words.delay().get(timeout=PATIENCE))

        many = squares(arguments.squares).apply_async()
        show_progress(many, arguments.squares)
        print("sum of squares:", sum(many.get(timeout=PATIENCE)))


if __name__ == "__main__":
    main()
