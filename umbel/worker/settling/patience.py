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
_LONGEST_DELAY = 2.0
"""Seconds: the longest that a server can be back and the worker not know it."""
_LONGEST_COUNTED_DELAY = 5.0
"""The same where it gives up after so many attempts: they are to last for a while."""
_SAID_EVERY = 30.0
"""Seconds between two lines in the log, once the delays have stopped growing."""


class Patience:
    """Calls a driver until its server answers: nothing is lost while a server restarts.

    Doubling delays with jitter, up to two seconds; bounded by the life of the worker, which
    cancels the call when it ends. Drivers reconnect by themselves; this repeats the call for which
    they gave up.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        first: float = _FIRST_DELAY,
        longest: float | None = None,
        retries: float = inf,
    ) -> None:
        """Make one.

        Args:
            first: Seconds before the call is repeated; each further time twice as many.
            longest: Seconds between two calls at most; None: two, or five where ``retries`` says
                that they are counted.
            retries: How often it is repeated before it fails for good.
        """
        if longest is None:
            longest = _LONGEST_DELAY if retries == inf else _LONGEST_COUNTED_DELAY
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
        said_at = -inf
        while True:
            try:
                returned = await function(*args, **kwargs)
            except (BrokerUnavailable, BackendUnavailable) as error:
                failures += 1
                if failures > self._retries:
                    raise
                delay = self._delay(failures)
                now = self._clock.monotonic()
                if self._has_grown(failures):
                    # The last line for a while says that it goes on.
                    if now - said_at >= _SAID_EVERY or not self._has_grown(failures - 1):
                        said_at = now
                        _say(error, f"every {self._longest:g} seconds at least")
                elif self._wanted(failures) >= _FIRST_DELAY or failures == 1:
                    # What begins with milliseconds is not said each time.
                    _say(error, f"in {max(delay, 0.1):.1f} seconds")
                await self._clock.sleep(delay)
            else:
                if failures:
                    logger.info("The connection is back.")
                return returned

    def _delay(self, failures: int) -> float:
        longest: float = min(self._wanted(failures), self._longest)
        return longest * (0.5 + self._jitter() / 2)

    def _has_grown(self, failures: int) -> bool:
        """Whether the delay is as long as it gets."""
        return failures > 0 and self._wanted(failures) >= self._longest

    def _wanted(self, failures: int) -> float:
        return self._first * 2.0 ** min(failures - 1, 20)


def _say(error: Exception, when: str) -> None:
    # The driver says what it tried and why that failed; a traceback adds nothing.
    logger.error("%s Trying again %s…", _sentence(error), when)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "!", "?")) else f"{text}."
