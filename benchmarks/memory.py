"""Whether a worker's memory grows: a million tasks that do nothing, through one worker.

Sent a hundred thousand at a time, so that the server does not hold them all, and with their
results dropped once they are counted. After each part the parent's own memory (USS) is noted. It
may grow while the first part is run; from then on it has to stay.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import psutil

from benchmarks.setting import private_redis, produce, publish, table, url_of, wait_until, worker

PART = 100_000
TOLERANCE = 10.0
"""MiB that the parent may grow by, from the first part to the last."""
PATIENCE = 300.0
"""Seconds a part may take."""


def main(arguments: list[str] | None = None) -> int:
    """Run it; returns 1 when the memory has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    count = parser.parse_args(arguments).tasks
    figures: list[tuple[int, float, float]] = []
    with private_redis() as client, worker("umbel", url := url_of(client)) as parent:
        for part in range(count // PART):
            began = time.monotonic()
            produce("umbel", url, "many", PART)
            wait_until(
                lambda: int(client.dbsize()) >= PART, seconds=PATIENCE, what="the last result"
            )
            speed = PART / (time.monotonic() - began)
            client.flushdb()
            figures.append(((part + 1) * PART, uss_mib(parent), speed))
            print(f"{figures[-1][0]:>9,} tasks: {figures[-1][1]:.1f} MiB", flush=True)
    growth = figures[-1][1] - figures[0][1]
    rows = [[f"{done:,}", f"{mib:.1f}", f"{speed:,.0f}"] for done, mib, speed in figures]
    text = table(["tasks", "parent's USS, MiB", "tasks/s, sending included"], rows)
    publish("memory", {"growth_mib": growth, "parts": figures}, text)
    print(f"grown by {growth:.1f} MiB since the {PART:,}th task")
    return int(growth > TOLERANCE)


def uss_mib(process: psutil.Process) -> float:
    """What would be free if the process ended."""
    total = 0
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total / 1024


if __name__ == "__main__":
    sys.exit(main())
