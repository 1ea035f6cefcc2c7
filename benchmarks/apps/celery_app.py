"""Celery's side: defaults, results in Redis."""

from __future__ import annotations

import os
import time

from celery import Celery

URL = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=os.environ.get("BENCH_BROKER", URL), backend=URL)
if "BENCH_CONFIRMED" in os.environ:
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="add")
def add(x: int, y: int) -> int:
    """Do nothing worth mentioning, and have a result."""
    return x + y


@app.task(name="started")
def started() -> float:
    """Say when the function was entered, on the clock that all processes share."""
    return time.monotonic()


@app.task(name="work")
def work(x: int, y: int) -> int:
    """Use the processor for a millisecond."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return x + y
