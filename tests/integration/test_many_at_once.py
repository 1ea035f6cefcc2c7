"""Thousands of tasks that wait, in one worker: as long as the waiting takes, and little more."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable

import pytest

from tests.measured import SLACK

from .site import Site

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
    pytest.mark.alone,
]

TASKS = """
import asyncio, time
from umbel import Umbel

app = Umbel("shop")


@app.task(name="wait")
def wait():
    started = time.time()
    time.sleep(1)
    return started, time.time()


@app.task(name="await")
async def await_():
    started = time.time()
    await asyncio.sleep(1)
    return started, time.time()
"""

COUNT, AT_ONCE = 2000, 1000
IDEAL = COUNT / AT_ONCE
TOLERANCE = 3.0 + SLACK
"""Seconds; issue 4 names three."""


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("redis", TASKS)


@pytest.mark.parametrize(("pool", "task"), [("asyncio", "await"), ("gevent", "wait")])
def test_two_thousand_seconds_of_waiting_take_two(site: Site, pool: str, task: str) -> None:
    if pool == "gevent" and importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    process = site.ready("-P", pool, "-c", str(AT_ONCE))
    # The first one of each process imports things.
    site.app.send_task(task).get(timeout=60)

    results = [site.app.send_task(task) for _ in range(COUNT)]
    spans = [result.get(timeout=60) for result in results]

    assert len(spans) == COUNT
    assert max(span[1] for span in spans) - min(span[0] for span in spans) < IDEAL + TOLERANCE
    assert site.end(process, signal.SIGTERM) == 0
