"""Celery's side: defaults, results in Redis."""

from __future__ import annotations

import os
import time

from celery import Celery

URL = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=os.environ.get("BENCH_BROKER", URL), backend=URL)


@app.task(name="add")
def add(x: int, y: int) -> int:
    """Do nothing worth mentioning, and have a result."""
    return x + y


@app.task(name="started")
def started() -> float:
    """Say when the function was entered, on the clock that all processes share."""
    return time.monotonic()
