"""How punctual a scheduler with many entries is, and what that costs.

    python -m benchmarks.schedule [entries] [seconds]

Every entry runs once in a minute, at a second of its own; the schedule and the messages are in
one SQLite file. Prints by how much runs were late, and how much of a core the scheduler took.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from umbel import Umbel
from umbel.app.scheduling.schedule import code_entries
from umbel.beat import Engine
from umbel.model import Firing, Message
from umbel.protocols import PublishingScheduleStore
from umbel.schedules.policy import due

MINUTE = 60.0


def app_with(entries: int, folder: Path) -> Umbel:
    """An app with that many entries, spread over the minute."""
    app = Umbel("schedule", broker=f"sqlite:///{folder / 'queue.db'}", set_as_current=False)
    app.conf.beat_schedule = {
        f"entry-{number}": {
            "task": "tick",
            "schedule": MINUTE,
            "jitter": MINUTE,
            "missed": "all",
        }
        for number in range(entries)
    }
    return app


async def measure(app: Umbel, seconds: float) -> tuple[list[float], float]:
    """Seconds by which each run was late, and the share of a core that was used."""
    late: list[float] = []
    engine = Engine(app, app.connections.schedules, code_entries(app))
    await engine.tick()
    store = await app.connections.schedules()
    assert isinstance(store, PublishingScheduleStore)
    _watch(app, store, late)
    begin, used = time.monotonic(), time.process_time()
    while time.monotonic() - begin < seconds:  # noqa: ASYNC110 - as the service does
        await asyncio.sleep(await engine.tick())
    share = (time.process_time() - used) / (time.monotonic() - begin)
    await app.connections.close()
    return late, share


def _watch(app: Umbel, store: PublishingScheduleStore, late: list[float]) -> None:
    plans = code_entries(app)
    fire = store.fire_and_publish

    async def watched(firings: list[Firing], messages: list[Message], *, term: int) -> list[bool]:
        taken = await fire(firings, messages, term=term)
        now = time.time()
        late.extend(now - due(plans[firing.name], firing.until) for firing in firings)
        return taken

    store.fire_and_publish = watched  # type: ignore[method-assign,assignment]


def main() -> None:
    """Measure, and print a line."""
    logging.disable(logging.INFO)
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with TemporaryDirectory() as folder:
        late, share = asyncio.run(measure(app_with(entries, Path(folder)), MINUTE + seconds))
    late.sort()
    print(
        f"{entries} entries, {len(late)} runs: late by {median(late) * 1000:.1f} ms, at most "
        f"{late[-1] * 1000:.1f} ms; {share:.1%} of a core"
    )


if __name__ == "__main__":
    main()
