"""Waiting for news of messages, and telling those who wait."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung when there may be something to take."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all who wait."""
        for waiter in self._waiters:
            _wake(waiter)

    async def wait(self, seconds: float) -> None:
        """Wait until it is rung, so many seconds at most."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
