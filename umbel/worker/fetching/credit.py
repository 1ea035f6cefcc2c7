"""How much to receive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized

from umbel.protocols import Pool

__all__ = ["Credit"]

_UNSETTLED_LIMIT = 10_000

logger = logging.getLogger(__name__)


class Credit:
    """The room for more messages: what the pool can take, less what is on its way there."""

    def __init__(
        self,
        pool: Pool,
        *,
        prefetch: bool,
        multiplier: int | None = None,
        under_way: Sized,
        active: Sized,
        unsettled: Sized,
        stuck: Sized = (),
        unsettled_limit: int = _UNSETTLED_LIMIT,
    ) -> None:
        """Make one.

        Args:
            prefetch: Whether to take more than what can run at once.
            multiplier: How many to have at most for each that can run at once; None: as many as
                the pool takes, which depends on how long tasks are.
            under_way: What was received and has not reached the pool.
            active: What the pool has.
            unsettled: What has finished and is not stored and acknowledged yet.
            stuck: What of it waits apart from the rest.
            unsettled_limit: How many of both there may be before the worker takes no more.
        """
        self._pool = pool
        self.prefetch = prefetch
        """Whether more may be taken than can run at once."""
        self._multiplier = multiplier
        self._most: int | None = None
        self._stalled = False
        self._active = active
        self._unsettled = unsettled
        self._stuck = stuck
        self._unsettled_limit = unsettled_limit
        self._is_full = False
        self._under_way = under_way
        self._waiting = 0
        self._change = asyncio.Event()
        pool.watch(self.changed)

    def changed(self) -> None:
        """Look again: something has started, finished or was settled."""
        if self._waiting:
            self._change.set()
            self._change = asyncio.Event()

    def stall(self) -> None:
        """All slots are busy with long tasks: nothing is to be fetched ahead before one ends."""
        self._stalled = True

    def ended(self) -> None:
        """A task has ended."""
        self._stalled = False
        self.changed()

    @property
    def most(self) -> int:
        """How many messages there may be here at once, running ones included."""
        if self._most is not None:
            return self._most
        if self._multiplier is not None:
            return self._pool.size * self._multiplier
        return len(self._active) + max(0, self._pool.free)

    def limit(self, most: int | None) -> None:
        """Have at most so many from now on, as far as the pool takes them; None: as configured.

        What is here already stays.
        """
        self._most = most
        self.changed()

    async def wait(self) -> None:
        """Wait for the next change."""
        self._waiting += 1
        try:
            await self._change.wait()
        finally:
            self._waiting -= 1

    async def wait_for_room(self) -> None:
        """Wait until there may be room: something has ended, or the pool says so."""
        await self.wait()

    async def available(self) -> int:
        """Wait until it is worth receiving; returns how many messages."""
        while not (room := self.worth_asking()):
            await self.wait_for_room()
        return room

    def worth_asking(self) -> int:
        """How many messages to receive now; 0: too few for a round trip to pay."""
        room = self.room()
        return room if room >= self._worthwhile(room) else 0

    def room(self) -> int:
        """How many more messages there is a place for now."""
        if len(self._unsettled) + len(self._stuck) >= self._unsettled_limit:
            self._say_full(full=True)
            return 0
        if self._is_full:
            self._say_full(full=False)
        room, active = self._pool.free, len(self._active)
        if self._stalled or not self.prefetch:
            room = min(room, self._pool.size - active)
        elif self._most is not None:
            room = min(room, self._most - active)
        elif self._multiplier is not None:
            room = min(room, self._pool.size * self._multiplier - active)
        return room - len(self._under_way)

    def _say_full(self, *, full: bool) -> None:
        if full == self._is_full:
            return
        self._is_full = full
        if full:
            logger.critical(
                "%d finished tasks wait for a broker or result backend that is away: no more are "
                "taken until it is back (result_buffer_max). None of them is lost.",
                len(self._unsettled) + len(self._stuck),
            )
        else:
            logger.warning("Results are stored again, and tasks are taken again.")

    def _worthwhile(self, room: int) -> int:
        active = len(self._active) + len(self._under_way)
        if active < self._pool.size:
            return 1
        # Every slot is busy and has more to do: a round trip for a single message would cost
        # more than the task; a quarter of what the pool can take is a batch.
        return max(1, (active + room) // 4)
