"""A worker in place: on the test's own loop, without a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from umbel import Umbel
from umbel.worker import Worker

__all__ = ["working"]


@asynccontextmanager
async def working(app: Umbel, **options: Any) -> AsyncIterator[Worker]:
    """Work for a minute at most, in two threads unless the options say otherwise."""
    given = {"pool": "threads", "concurrency": 2, "quiet": True, **options}
    async with asyncio.timeout(200), Worker(app, **given) as worker:
        yield worker
