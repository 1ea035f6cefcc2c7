"""How long a call waits: from the call to its function at 100 calls a second, and round trips.

The worker is idle otherwise. ``start`` is the time from just before the call to the first line of
the function, on the one monotonic clock of the machine; ``round trip`` is call, wait for the
result, call again.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.setting import produce, publish, somewhere, table, worker

SYSTEMS = ("celery", "umbel", "dramatiq", "taskiq", "huey", "umbel-sqlite")
CALLS = 500

Figures = dict[str, dict[str, list[float]]]


def measure(system: str, figures: Figures) -> None:
    """One round of one system."""
    with somewhere(system) as (name, url), worker(name, url):
        for what in ("paced", "sequential"):
            answer = produce(name, url, what, CALLS)
            for key, value in answer.items():
                figures[system].setdefault(f"{what} {key}", []).append(value)


def report(figures: Figures) -> str:
    """Medians over the rounds, and ratios to Celery's."""
    columns = {
        "start p50": "paced p50_ms",
        "start p99": "paced p99_ms",
        "round trip p50": "sequential p50_ms",
        "round trip p99": "sequential p99_ms",
    }
    rows = []
    for system, measured in figures.items():
        row = [system]
        for key in columns.values():
            value = statistics.median(measured[key])
            ratio = ""
            if "celery" in figures:
                ratio = f" ({value / statistics.median(figures['celery'][key]):.2f}x)"
            row.append(f"{value:.2f}{ratio}")
        rows.append(row)
    return table(["ms", *columns], rows) + "\n\nIn brackets: times Celery's; less is better."


def main() -> None:
    """Measure the systems asked for, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    figures: Figures = {system: {} for system in options.systems}
    for _ in range(options.rounds):
        for system in options.systems:
            measure(system, figures)
    publish("latency", figures, report(figures))


if __name__ == "__main__":
    main()
