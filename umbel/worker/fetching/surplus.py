"""Giving back what was fetched and cannot start soon."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from umbel.model import Delivery
from umbel.protocols import Broker, Clock, Pool, Pushes
from umbel.worker.fetching.credit import Credit
from umbel.worker.fetching.handover import Handover
from umbel.worker.fetching.intake import Intake
from umbel.worker.settling.finish import Finish
from umbel.worker.state import State

__all__ = ["Surplus"]

logger = logging.getLogger(__name__)

_PATIENCE = 0.15
"""Seconds that something may wait here: too short to be missed by a person, long beside what a
batch of short tasks takes."""


class Surplus:
    """Fetching ahead is for short tasks. What waits here for longer than a batch of short tasks
    takes goes back to the broker, where another worker may have nothing to do; and only as much
    as can start at once is fetched until something ends."""

    def __init__(
        self,
        broker: Broker,
        pool: Pool,
        *,
        handover: Handover,
        intake: Intake,
        finish: Finish,
        credit: Credit,
        state: State,
        give_back: Callable[[Sequence[Delivery]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._pushes = broker if isinstance(broker, Pushes) else None
        self._pool = pool
        self._handover = handover
        self._intake = intake
        self._finish = finish
        self._credit = credit
        self._state = state
        self._give_back = give_back
        self._clock = clock

    async def run(self) -> None:
        """Look after it until cancelled. Sleeps while there is nothing to do."""
        state = self._state
        while True:
            await state.busy.wait()
            ended, waiting = state.ended, self._waiting()
            await self._clock.sleep(_PATIENCE)
            if not state.active and not self._handover:
                # Set again with the next request that is handed over.
                state.busy.clear()
            elif state.ended == ended or waiting & self._waiting():
                await self._return()

    def _waiting(self) -> set[int]:
        """What has not started, by the requests' keys."""
        started = {running.key for running in self._pool.running()}
        waiting = {accepted.request.key for accepted in self._handover}
        return waiting | (self._state.active.keys() - started)

    async def _return(self) -> None:
        self._credit.stall()
        # First of all: who asks for more than can start would be given back what goes back.
        self._intake.retract()
        surplus = self._handover.surrender()
        self._credit.changed()
        if len(self._state.active) > len(self._pool.running()):
            surplus += await self._finish.withdraw()
        if surplus:
            logger.debug("Giving back %d messages: all slots are busy.", len(surplus))
            await self._give_back([accepted.delivery for accepted in surplus])
        if self._pushes is not None and not self._intake.is_receiving:
            await self._pushes.rest()
