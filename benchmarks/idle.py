"""What a worker with two processes costs while it has nothing to do: memory and processor.

Memory is the proportional set size (PSS) of the whole process tree, from the kernel's
``smaps_rollup``: pages shared by several processes count once. Processor time is what the tree
uses in twenty seconds, in per cent of one core. Each worker has run a few tasks before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import psutil

from benchmarks.setting import produce, publish, somewhere, table, worker

SYSTEMS = ("celery", "umbel", "dramatiq", "taskiq", "huey", "umbel-sqlite")
SETTLE = 4.0
"""Seconds between the last task and the first look."""

Figures = dict[str, dict[str, list[float]]]


def tree(root: psutil.Process) -> list[psutil.Process]:
    """The process and everything below it."""
    return [root, *root.children(recursive=True)]


def pss_mib(processes: list[psutil.Process]) -> float:
    """Proportional set size of all of them together."""
    total = 0
    for process in processes:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Processor time used so far by all of them together."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(system: str, seconds: float, figures: Figures) -> None:
    """One worker, looked at while it idles."""
    with somewhere(system) as (name, url), worker(name, url) as root:
        produce(name, url, "sequential", 20)
        time.sleep(SETTLE)
        processes = tree(root)
        before, begin = processor_seconds(processes), time.monotonic()
        time.sleep(seconds)
        used, elapsed = processor_seconds(processes) - before, time.monotonic() - begin
        for key, value in {
            "pss_mib": pss_mib(processes),
            "cpu_percent": used / elapsed * 100,
            "processes": float(len(processes)),
        }.items():
            figures[system].setdefault(key, []).append(value)


def report(figures: Figures) -> str:
    """Medians, and memory as a ratio to Celery's."""
    rows = []
    for system, measured in figures.items():
        memory = statistics.median(measured["pss_mib"])
        ratio = ""
        if "celery" in figures:
            ratio = f" ({memory / statistics.median(figures['celery']['pss_mib']):.2f}x)"
        rows.append(
            [
                system,
                f"{statistics.median(measured['processes']):.0f}",
                f"{memory:.1f} MiB{ratio}",
                f"{statistics.median(measured['cpu_percent']):.2f} %",
            ]
        )
    return table(["idle worker", "processes", "PSS of the tree", "one core"], rows)


def main() -> None:
    """Measure the systems asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    figures: Figures = {system: {} for system in options.systems}
    for _ in range(options.rounds):
        for system in options.systems:
            measure(system, options.seconds, figures)
    publish("idle", figures, report(figures))


if __name__ == "__main__":
    main()
