"""What the worker has, and what it has done."""

from __future__ import annotations

import asyncio
import os

from umbel.app.operating.revoking import REVOKES_MAX
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.holding import Holding
from umbel.worker.fetching.ratelimit import RateLimits
from umbel.worker.fleet.rivals import Rivals
from umbel.worker.health.pulse import Pulse
from umbel.worker.revoking.revocations import Revocations

__all__ = ["REVOKES_MAX", "REVOKE_EXPIRES", "State"]

REVOKE_EXPIRES = float(os.environ.get("CELERY_WORKER_REVOKE_EXPIRES", "10800"))
"""Seconds after which they may be forgotten, once there are that many."""


class State:
    """The worker's books, in plain dictionaries. Belongs to the worker's loop."""

    def __init__(
        self,
        holding: Holding,
        revocations: Revocations,
        rates: RateLimits,
        pulse: Pulse,
        rivals: Rivals,
    ) -> None:
        self.rates = rates
        """How often tasks may start, and those that wait here for their turn."""
        self.revocations = revocations
        """What is not to be run."""
        self.holding = holding
        """What waits here until it is due."""
        self.active: dict[int, Accepted] = {}
        """What the pool has, by the request's key: running, or next in line."""
        self.totals: dict[str, int] = {}
        """How many requests have been started, by the task's name."""
        self.pulse = pulse
        """Whether messages are taken."""
        self.rivals = rivals
        """Schedulers that do not know of each other."""
        self.busy = asyncio.Event()
        """Set with every request that is handed to the pool."""
        self.ended = 0
        """How many requests have ended, or were lost, in the pool."""
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
