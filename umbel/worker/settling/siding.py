"""Where what is stuck waits, and lets the rest pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Sequence
from typing import Any

from umbel.model import Settlement
from umbel.worker.settling.account import Account

__all__ = ["SOON", "Siding"]

SOON = 0.5
"""Seconds that everything waits for a step, because it is as a rule quick, and a batch cheaper
than two: longer than a server needs that is merely busy."""
_MOST = 8
"""Batches that may be stuck beside each other."""


class Siding:
    """A step of settling that can be stuck while others are not: publishing, when the broker takes
    nothing, or one of its queues does not.

    As long as the step is quick, everything waits for it. What takes longer is left to itself, and
    goes on by itself when it is done; what needs the step meanwhile, and would be stuck too, waits
    behind it, and is one batch then. Nothing else waits.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Settlement]], Coroutine[Any, Any, None]],
        then: Callable[[Sequence[Settlement]], Awaitable[None]],
        *,
        ways: Callable[[Settlement], Collection[Hashable]],
        fence: Callable[[Sequence[Settlement]], Awaitable[Sequence[Settlement]]],
        account: Account,
        soon: float = SOON,
    ) -> None:
        """Make one.

        Args:
            step: What may get stuck.
            then: What comes after it, for what did not wait for it in company.
            ways: What a settlement needs for the step: those that share one are stuck together.
            fence: Which settlements are still ours; asked before what has waited goes on.
            account: Told of what waits here.
            soon: Seconds that the step may take in company.
        """
        self._step = step
        self._then = then
        self._ways = ways
        self._fence = fence
        self._soon = soon
        self._waiting: list[Settlement] = []
        self._account = account
        self._stuck: dict[asyncio.Future[None], Sequence[Settlement]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._followers = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def take(self, needing: Sequence[Settlement]) -> Sequence[Settlement]:
        """Take the step for settlements that need it; returns those that may go on at once, as a
        rule all. The others go on by themselves."""
        if self._stuck:
            needing = self._passing(needing)
            if not needing:
                return needing
        step = asyncio.ensure_future(self._step(needing))
        try:
            await asyncio.wait([step], timeout=self._soon)
        except BaseException:
            step.cancel()
            raise
        if step.done():
            step.result()
            return needing
        self._follow(step, needing)
        return ()

    async def run(self) -> None:
        """See to what is stuck until cancelled.

        Raises:
            ExceptionGroup: A step has failed, or what came after it.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    async def until_idle(self) -> None:
        """Wait until nothing is here."""
        await self._idle.wait()

    def _passing(self, needing: Sequence[Settlement]) -> Sequence[Settlement]:
        """Those of which nothing is stuck; the others wait."""
        if len(self._stuck) >= _MOST:
            self._wait(needing)
            return ()
        stuck = self._stuck.values()
        blocked = {way for batch in stuck for each in batch for way in self._ways(each)}
        passing, waiting = list[Settlement](), list[Settlement]()
        for settlement in needing:
            is_passing = blocked.isdisjoint(self._ways(settlement))
            (passing if is_passing else waiting).append(settlement)
        self._wait(waiting)
        return passing

    def _wait(self, settlements: Sequence[Settlement]) -> None:
        self._waiting += settlements
        self._account.set_apart(self, settlements)

    def _follow(self, step: asyncio.Future[None], batch: Sequence[Settlement]) -> None:
        if self._group is None:
            raise RuntimeError("a step takes long, and nobody sees to it: run() has not begun")
        self._account.set_apart(self, batch)
        self._stuck[step] = batch
        self._followers += 1
        self._idle.clear()
        self._group.create_task(self._see_to(step))

    async def _see_to(self, step: asyncio.Future[None]) -> None:
        while True:
            await step
            batch = self._stuck[step]
            await self._then(await self._fence(batch))
            del self._stuck[step]
            self._account.rejoin(self, batch)
            waiting, self._waiting = self._waiting, []
            self._account.rejoin(self, waiting)
            ours = await self._fence(waiting) if waiting else ()
            batch = self._passing(ours)
            if not batch:
                break
            step = asyncio.ensure_future(self._step(batch))
            self._account.set_apart(self, batch)
            self._stuck[step] = batch
        # The last one leaves nobody waiting: nothing was stuck any more that could hold them up.
        self._followers -= 1
        if not self._followers:
            self._idle.set()
