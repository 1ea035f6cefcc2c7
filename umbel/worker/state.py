"""What the worker has, and what it has done."""

from __future__ import annotations

import asyncio

from umbel.worker.admission import Accepted
from umbel.worker.holding import Holding

__all__ = ["State"]


class State:
    """The worker's books, in plain dictionaries. Belongs to the worker's loop."""

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        """What waits here until it is due."""
        self.active: dict[int, Accepted] = {}
        """What the pool has, by the request's key: running, or next in line."""
        self.totals: dict[str, int] = {}
        """How many requests have been started, by the task's name."""
        self.settled = 0
        """How many messages are done with for good."""
        self._settled_more = asyncio.Event()

    def count_settled(self, count: int) -> None:
        """``count`` more messages are done with."""
        self.settled += count
        self._settled_more.set()

    async def until_settled(self, count: int) -> None:
        """Wait until ``count`` messages in all are done with."""
        while self.settled < count:
            self._settled_more.clear()
            await self._settled_more.wait()
