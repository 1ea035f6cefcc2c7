"""Noticing that nothing comes any more although there is something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from umbel.exceptions import BrokerUnavailable
from umbel.protocols import Broker, Clock
from umbel.worker.health.pulse import Pulse

__all__ = ["Watchdog", "count_waiting"]

logger = logging.getLogger(__name__)

_LOOKS = 4
"""Looks within the time after which nothing coming is suspicious."""


class Watchdog:
    """When messages wait, slots are free, nobody takes any, and nothing comes: first the
    connection is rebuilt; when that does not help, the worker ends, for its supervisor to begin
    anew. A server that cannot be reached is no reason: that is waited for."""

    def __init__(
        self,
        pulse: Pulse,
        *,
        seconds: float,
        waiting: Callable[[], Awaitable[int]],
        rebuild: Callable[[], Awaitable[None]],
        give_up: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            seconds: For how long nothing may come.
            waiting: Asks, over a connection of its own, how many messages wait.
            rebuild: Connects anew.
            give_up: Ends the worker.
        """
        self._pulse = pulse
        self._seconds = seconds
        self._waiting = waiting
        self._rebuild = rebuild
        self._give_up = give_up
        self._clock = clock

    async def watch(self, ending: asyncio.Event) -> None:
        """Watch until the event is set, or until it has given up."""
        watching = asyncio.ensure_future(self._run())
        ended = asyncio.ensure_future(ending.wait())
        await asyncio.wait((watching, ended), return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        await asyncio.wait((watching, ended))
        if not watching.cancelled():
            watching.result()

    async def _run(self) -> None:
        rebuilt = False
        while True:
            await self._clock.sleep(self._seconds / _LOOKS)
            if self._pulse.hungry_for < self._seconds:
                # Something has come since.
                rebuilt = rebuilt and self._pulse.hungry_for > 0
                continue
            count = await self._stalled()
            if not count:
                self._pulse.reset()
                rebuilt = False
            elif not rebuilt:
                logger.error(
                    "%d messages wait, slots are free, and nothing has come for %.0f seconds: "
                    "connecting anew.",
                    count,
                    self._pulse.hungry_for,
                )
                self._pulse.reset()
                await self._rebuild()
                rebuilt = True
            else:
                logger.critical(
                    "%d messages wait, slots are free, and nothing comes, on a new connection "
                    "either: giving up, so that whoever supervises this worker begins anew.",
                    count,
                )
                self._give_up()
                return

    async def _stalled(self) -> int:
        """How many messages wait that nobody takes; 0 when somebody does, or nobody can say."""
        try:
            before = await self._waiting()
            if not before:
                return 0
            await self._clock.sleep(self._seconds / _LOOKS)
            after = await self._waiting()
        except BrokerUnavailable:
            return 0
        # Fewer than before: others are served, and our turn may come.
        return 0 if after < before or self._pulse.hungry_for < self._seconds else after


async def count_waiting(make_broker: Callable[[], Broker], queues: Sequence[str]) -> int:
    """How many messages wait in the queues, asked over a connection of its own.

    Raises:
        BrokerUnavailable: Nobody can say.
    """
    broker = make_broker()
    try:
        await broker.open()
        found = await broker.stats(queues)
    finally:
        await broker.close()
    return sum(stats.ready for stats in found.values())
