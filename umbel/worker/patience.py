"""Repeating what failed because a server was away."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import ParamSpec, TypeVar

from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.protocols import Clock

__all__ = ["Patience"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 5.0


class Patience:
    """Calls a driver until its server answers: nothing is lost while a server restarts.

    Doubling delays with jitter, up to five seconds; bounded by the life of the worker, which
    cancels the call when it ends. Drivers reconnect by themselves; this repeats the call for which
    they gave up.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        first: float = _FIRST_DELAY,
        longest: float = _LONGEST_DELAY,
        retries: float = inf,
    ) -> None:
        """Make one.

        Args:
            first: Seconds before the call is repeated; each further time twice as many.
            longest: Seconds between two calls at most.
            retries: How often it is repeated before it fails for good.
        """
        self._clock = clock
        self._jitter = jitter
        self._first = first
        self._longest = longest
        self._retries = retries

    async def __call__(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Await ``function(…)``, again and again while its server cannot be reached.

        Raises:
            BrokerUnavailable, BackendUnavailable: As often as it may be repeated, in vain.
        """
        failures = 0
        while True:
            try:
                returned = await function(*args, **kwargs)
            except (BrokerUnavailable, BackendUnavailable) as error:
                failures += 1
                if failures > self._retries:
                    raise
                delay = self._delay(failures)
                # The driver says what it tried and why that failed; a traceback adds nothing.
                logger.error(  # noqa: TRY400
                    "%s Trying again in %.1f seconds…", _sentence(error), delay
                )
                await self._clock.sleep(delay)
            else:
                if failures:
                    logger.info("The connection is back.")
                return returned

    def _delay(self, failures: int) -> float:
        longest: float = min(self._first * 2 ** min(failures - 1, 20), self._longest)
        return longest * (0.5 + self._jitter() / 2)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "!", "?")) else f"{text}."
