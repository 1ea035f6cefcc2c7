"""Tasks that are due later, as Celery's producers send them: the message itself says nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from umbel.wire import tasks as wire
from umbel.wire.call import Call

from .site import Site

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux counts it")

COUNT = int(os.environ.get("ETA_TASKS", "1000"))
"""The goal is 100,000."""
MEGABYTES = 20

TASKS = """
import os
from umbel import Umbel

app = Umbel("shop")
notes = os.open("notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


@app.task(name="work")
def work(number):
    os.write(notes, f"{number}\\n".encode())
    return number
"""


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, make_site: Callable[[str, str], Site]) -> Site:
    return make_site(request.param, TASKS)


async def send(site: Site, count: int, *, due_in: float, first: int) -> None:
    """Send tasks whose time stands in a header only."""
    broker = await site.app.connections.broker()
    eta = datetime.now(UTC) + timedelta(seconds=due_in)
    for start in range(first, first + count, 1000):
        numbers = range(start, min(start + 1000, first + count))
        calls = [Call(task="work", id=f"id-{n}", args=(n,), eta=eta) for n in numbers]
        await broker.publish(
            [msgspec.structs.replace(wire.encode(call), not_before=None) for call in calls]
        )
    await site.app.connections.close()


def megabytes(pid: int) -> float:
    """What a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_what_is_due_in_an_hour_costs_no_memory_and_survives_the_death_of_all_workers(
    site: Site,
) -> None:
    process = site.ready("-c", "1")
    assert site.app.send_task("work", (1,)).get(timeout=60) == 1
    before = megabytes(process.pid)

    asyncio.run(send(site, COUNT, due_in=3600, first=1000))
    asyncio.run(send(site, 3, due_in=4, first=2))
    # Behind all of them, and not held back.
    assert site.app.send_task("work", (5,)).get(timeout=100) == 5
    assert megabytes(process.pid) - before < MEGABYTES
    process.kill()
    process.wait(60)

    process = site.ready("-c", "1")
    site.until(lambda: sorted(set(site.started())) == [1, 2, 3, 4, 5], "what is due has run")
    assert site.end(process, signal.SIGTERM) == 0
