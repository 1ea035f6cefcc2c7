"""What ``import`` costs over the bare interpreter, each in fresh processes that take turns.

The minimum says what the import itself costs, the median what a person waits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks.setting import ROOT, publish, table

STATEMENT_BY_SYSTEM = {
    "bare": "pass",
    "umbel": "from umbel import Umbel",
    "celery": "from celery import Celery",
    "dramatiq": "import dramatiq",
    "taskiq": "import taskiq",
    "huey": "from huey import RedisHuey",
}
ROUNDS = 15
# As users have it: byte code is kept, and imported, not compiled anew each time.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def clock(statement: str) -> float:
    """Milliseconds a fresh interpreter takes."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], cwd=ROOT, env=ENVIRONMENT, check=True)
    return (time.perf_counter() - begin) * 1e3


def main() -> None:
    """Measure, turn by turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=list(STATEMENT_BY_SYSTEM))
    systems = dict.fromkeys(["bare", "celery", *parser.parse_args().systems])
    times: dict[str, list[float]] = {system: [] for system in systems}
    for system in systems:
        clock(STATEMENT_BY_SYSTEM[system])  # writes the byte code, warms the page cache
    for _ in range(ROUNDS):
        for system in systems:
            times[system].append(clock(STATEMENT_BY_SYSTEM[system]))
    bare = times["bare"]
    figures = {
        system: {
            "min_ms": min(taken) - min(bare),
            "median_ms": statistics.median(taken) - statistics.median(bare),
        }
        for system, taken in times.items()
        if system != "bare"
    }
    rows = [
        [
            system,
            f"{figure['min_ms']:.1f} ({figure['min_ms'] / figures['celery']['min_ms']:.2f}x)",
            f"{figure['median_ms']:.1f}",
        ]
        for system, figure in figures.items()
    ]
    text = table(["ms over the bare interpreter", "minimum", "median"], rows)
    publish("importtime", figures, f"{text}\n\nThe bare interpreter: {min(bare):.1f} ms.")


if __name__ == "__main__":
    main()
