"""Dramatiq's side: defaults, results in Redis."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["BENCH_REDIS"]
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def add(x: int, y: int) -> int:
    """Do nothing worth mentioning, and have a result."""
    return x + y


@dramatiq.actor
def started() -> float:
    """Say when the function was entered, on the clock that all processes share."""
    return time.monotonic()
