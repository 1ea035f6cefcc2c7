"""Waiting for results while the result backend is away."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

from umbel.exceptions import BackendClosed, BackendUnavailable

__all__ = ["Outage"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds that an outage may last when the caller has set no end to waiting."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Outage:
    """Repeats what fails because the result backend is away, on behalf of one who waits.

    Drivers connect again by themselves, and fail when that takes longer than a moment. Who waits
    for a result has more time than that: all that he has given, or half a minute.

    Source:
        Celery's Redis backend connects again 20 times, at most a second apart.
    """

    def __init__(self, *, patience: float | None = inf, retries: float = inf) -> None:
        """Make one.

        Args:
            patience: Seconds that it may last; None: half a minute.
            retries: How many further attempts there may be.
        """
        self._patience = _PATIENCE if patience is None else patience
        self._retries = retries
        self.error: BackendUnavailable | None = None
        """Why the backend cannot be reached; None: it answers."""

    @property
    def sentence(self) -> str:
        """What to add to a message that says that time is over."""
        return "" if self.error is None else f" The result backend is away: {self.error}"

    async def survive(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await ``attempt()``, again and again while the backend cannot be reached.

        Raises:
            BackendClosed: It will not come back.
            BackendUnavailable: It has lasted too long.
        """
        # Needed only where somebody waits; costs 40 ms to import.
        import asyncio

        loop = asyncio.get_running_loop()
        until, pause, retries = 0.0, _FIRST_PAUSE, 0
        while True:
            try:
                result = await attempt()
            except BackendClosed:
                raise
            except BackendUnavailable as error:
                if self.error is None:
                    until, pause, retries = loop.time() + self._patience, _FIRST_PAUSE, 0
                    logger.warning("%s Results are waited for until it is back.", error)
                elif loop.time() > until:
                    raise
                retries += 1
                if retries > self._retries:
                    raise
                self.error = error
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.answered()
                return result

    def answered(self) -> None:
        """The backend has answered."""
        if self.error is not None:
            self.error = None
            logger.info("The result backend is back.")
