"""Taskiq's side: its list broker, results in Redis."""

from __future__ import annotations

import os
import time

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

URL = os.environ["BENCH_REDIS"]
# With the Redis client's own default its idle worker dies of a read timeout after five seconds.
broker = ListQueueBroker(url=URL, socket_timeout=None).with_result_backend(
    RedisAsyncResultBackend(redis_url=URL)
)


@broker.task
async def add(x: int, y: int) -> int:
    """Do nothing worth mentioning, and have a result."""
    return x + y


@broker.task
async def started() -> float:
    """Say when the function was entered, on the clock that all processes share."""
    return time.monotonic()
