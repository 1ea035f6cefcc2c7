"""From the pool to the broker and the result backend: what finished is settled in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from umbel.model import Outcome, Settlement
from umbel.protocols import Pool
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.credit import Credit
from umbel.worker.settling.conclusion import Conclusions
from umbel.worker.settling.exposure import Exposure
from umbel.worker.settling.fence import Fence
from umbel.worker.settling.settle import Settler
from umbel.worker.state import State

__all__ = ["Finish"]

logger = logging.getLogger(__name__)


class Finish:
    """Empties the pool. Two loops, so that slots are filled again while results are stored:
    :meth:`collect` takes outcomes as they come; :meth:`settle` brings home, in one batch,
    whatever gathered while the batch before was under way."""

    def __init__(
        self,
        pool: Pool,
        settler: Settler,
        conclusions: Conclusions,
        *,
        state: State,
        credit: Credit,
        fence: Fence,
        exposure: Exposure,
        unsettled: list[Settlement],
    ) -> None:
        """Make one.

        Args:
            fence: Which of them are still ours.
            unsettled: Where finished requests wait; shared with the credit, which counts them.
        """
        self._pool = pool
        self._settler = settler
        self._conclusions = conclusions
        self._state = state
        self._credit = credit
        self._fence = fence
        self._exposure = exposure
        self._unsettled = unsettled
        self.others: Callable[[Sequence[Outcome]], None] | None = None
        """Told of outcomes among which are some of no task; None: there are none."""
        self._more = asyncio.Event()
        self._collected = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, settlements: Sequence[Settlement]) -> None:
        """Settle these too, with the next batch."""
        self._unsettled += settlements
        self._idle.clear()
        self._more.set()

    async def collect(self) -> None:
        """Turn outcomes into settlements, until the pool has stopped and given out everything."""
        active, conclude = self._state.active, self._conclusions.of_all
        while outcomes := await self._pool.outcomes():
            # Absent: given up by a cold shutdown.
            ended = [
                (accepted, outcome)
                for outcome in outcomes
                if (accepted := active.pop(outcome.key, None)) is not None
            ]
            if self.others is not None and len(ended) < len(outcomes):
                self.others(outcomes)
            self._exposure.finished(ended)
            self.enter(conclude(ended))
            self._state.ended += len(outcomes)
            self._credit.ended()
        self._collected.set()

    async def settle(self) -> None:
        """Settle what has gathered, batch after batch, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            batch = self._unsettled[:]
            self._unsettled.clear()
            self._exposure.settling()
            await self._settler.settle(await self._fence(batch))
            self._exposure.settled()
            if not self._unsettled:
                self._idle.set()
            self._credit.changed()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Accepted]:
        """Take back from the pool what has not started: those of ``keys``, or all."""
        active = self._state.active
        withdrawn = [
            accepted
            for request in await self._pool.withdraw(keys)
            if (accepted := active.pop(request.key, None)) is not None
        ]
        self._exposure.withdrawn(withdrawn)
        self._credit.changed()
        return withdrawn

    async def until_collected(self) -> None:
        """Wait until the pool has stopped and given out everything."""
        await self._collected.wait()

    async def until_idle(self) -> None:
        """Wait until everything is settled, once the pool has stopped."""
        await self._collected.wait()
        await self._idle.wait()
        await self._settler.until_idle()
