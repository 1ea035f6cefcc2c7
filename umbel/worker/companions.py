"""What runs on a worker's loop beside it, for example a scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

__all__ = ["Companion", "running"]

Companion = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set; when it fails, so does the worker."""


@asynccontextmanager
async def running(companions: Sequence[Companion]) -> AsyncGenerator[None]:
    """Run them as long as the context lasts, and wait until they have ended."""
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for companion in companions:
            group.create_task(_run(companion, ending))
        try:
            yield
        finally:
            ending.set()


async def _run(companion: Companion, ending: asyncio.Event) -> None:
    await companion(ending)
