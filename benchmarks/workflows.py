"""Workflows beside Celery's: group and chord of 1,000, chain of 100; a group of 100,000, sent.

``python -m benchmarks.workflows`` starts a private Redis and one worker process of each kind after
the other, both with prefork and two processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from umbel.testing.servers import redis_server

MEMBERS, LINKS, MANY = 1_000, 100, 100_000


def make(kind: str, url: str) -> tuple[Any, Any]:
    """The app and the canvas of a side."""
    if kind == "celery":
        import celery

        app: Any = celery.Celery("benchmarks.workflows", broker=url, backend=url)
        canvas: Any = celery
    else:
        import umbel

        app = umbel.Umbel("benchmarks.workflows", broker=url, backend=url)
        canvas = umbel

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="nothing", ignore_result=True)
    def nothing() -> None:
        pass

    return app, canvas


if "WORKFLOWS_SIDE" in os.environ:
    app, _ = make(os.environ["WORKFLOWS_SIDE"], os.environ["WORKFLOWS_REDIS"])


@contextmanager
def worker(kind: str, url: str) -> Iterator[None]:
    """A worker of a side."""
    program = [sys.executable, "-m", kind, "-A", "benchmarks.workflows", "worker", "-c", "2"]
    environment = {**os.environ, "WORKFLOWS_SIDE": kind, "WORKFLOWS_REDIS": url}
    process = subprocess.Popen(
        program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """How long it takes, run after run."""
    found: list[float] = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return found


def measure(kind: str, url: str, runs: int) -> dict[str, list[float]]:
    """All times of a side."""
    app, canvas = make(kind, url)
    add, total = app.tasks["add"], app.tasks["total"]
    with worker(kind, url):
        add.delay(1, 1).get(timeout=60)

        def group() -> None:
            result = canvas.group([add.s(n, n) for n in range(MEMBERS)]).apply_async()
            assert len(result.get(timeout=120)) == MEMBERS

        def chord() -> None:
            header = [add.s(n, n) for n in range(MEMBERS)]
            assert canvas.chord(header)(total.s()).get(timeout=120) == MEMBERS * (MEMBERS - 1)

        def chain() -> None:
            links = [add.s(1, 1), *(add.s(1) for _ in range(LINKS - 1))]
            assert canvas.chain(*links).apply_async().get(timeout=120) == LINKS + 1

        return {
            f"group of {MEMBERS:,}, joined": seconds(group, runs),
            f"chord of {MEMBERS:,}": seconds(chord, runs),
            f"chain of {LINKS}": seconds(chain, runs),
        }


def growth(url: str) -> tuple[float, float]:
    """MB by which the sender grows for a group of many, and the seconds that takes."""
    app, canvas = make("umbel", url)
    nothing = app.tasks["nothing"]
    canvas.group(nothing.si() for _ in range(100)).apply_async()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    result = canvas.group(nothing.si() for _ in range(MANY)).apply_async()
    spent = time.perf_counter() - begin
    assert len(result) == MANY
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, spent


def main() -> None:
    """Measure both sides, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    with redis_server() as server:
        megabytes, spent = growth(server.url())
        print(f"a group of {MANY:,} sent: {megabytes:.0f} MB of growth, {spent:.1f} s")
    found: dict[str, dict[str, list[float]]] = {}
    for kind in ("celery", "umbel"):
        with redis_server() as server:
            found[kind] = measure(kind, server.url(), runs)
    for what, theirs in found["celery"].items():
        ours = statistics.median(found["umbel"][what])
        median = statistics.median(theirs)
        print(f"{what}: Celery {median:.2f} s, umbel {ours:.2f} s: {ours / median:.2f} of it")


if __name__ == "__main__":
    main()
