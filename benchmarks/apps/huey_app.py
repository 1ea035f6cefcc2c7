"""Huey's side: defaults, results in Redis."""

from __future__ import annotations

import os
import time

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"])


@huey.task()
def add(x: int, y: int) -> int:
    """Do nothing worth mentioning, and have a result."""
    return x + y


@huey.task()
def started() -> float:
    """Say when the function was entered, on the clock that all processes share."""
    return time.monotonic()
