"""How often tasks of a type may start in this worker, and what waits for its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import ceil, inf

from umbel.protocols import Clock
from umbel.worker.fetching.admission import Accepted

__all__ = ["RateLimits", "per_second"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BURST = 0.05
"""Seconds' worth of tasks that may start at once: how late the loop may look."""
_AHEAD = 2.0
"""Seconds' worth of tasks to keep here, so that parked ones may come back a little late."""
_MOST_HERE = 1000
_PARKED_FOR = 60.0
"""Seconds after which what is parked is looked at again: there may be another worker by then."""
_LOOKS = 500
"""Parked messages per second that may come back to be looked at, at most."""


def per_second(rate: str | float | None) -> float:
    """How many tasks per second a rate limit allows; ``inf`` when there is none.

    Source:
        Celery user guide, Tasks, ``Task.rate_limit``: ``"100/s"``, ``"10/m"``, ``"2/h"``, a number
        of tasks per second; None and 0 are no limit.

    Raises:
        ValueError: It is none of these.

    >>> per_second("30/m"), per_second(5), per_second(None)
    (0.5, 5.0, inf)
    """
    if not rate:
        return inf
    count, _, unit = str(rate).partition("/")
    try:
        allowed = float(count) / _UNITS[unit.strip() or "s"]
    except (KeyError, ValueError):
        allowed = -1.0
    if not 0 <= allowed < inf:
        raise ValueError(
            f"{rate!r} is not a rate limit: write '100/s', '10/m', '2/h', "
            f"a number of tasks per second, or None for no limit"
        )
    return allowed or inf


class _Limit:
    """One task type: a bucket of tokens, a short line of requests, and how much is parked."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.line: deque[Accepted] = deque()
        # When the last parked one would have its turn, and when to count them anew: those that
        # came back and were parked again are counted twice.
        self._parked_until = now
        self._round_ends = now
        self._capacity = max(1.0, rate * _BURST)
        self._tokens = self._capacity
        self._seen = now

    def room(self) -> int:
        return max(2, min(_MOST_HERE, ceil(self.rate * _AHEAD))) - len(self.line)

    def park(self, now: float) -> float:
        """Seconds for which the next one is parked: about until it would be its turn."""
        longest = max(_PARKED_FOR, (self._parked_until - now) * self.rate / _LOOKS)
        if now >= self._round_ends:
            self._parked_until = now
            self._round_ends = now + longest
        here = now + len(self.line) / self.rate
        self._parked_until = max(self._parked_until, here) + 1 / self.rate
        return min(self._parked_until - now, longest)

    def take(self, now: float, limit: int) -> Iterator[Accepted]:
        self._fill(now)
        while self.line and self._tokens >= 1 and limit > 0:
            self._tokens -= 1
            limit -= 1
            yield self.line.popleft()

    def next_turn(self, now: float) -> float:
        """Seconds until the first in line may start."""
        if not self.line:
            return inf
        self._fill(now)
        return max(0.0, (1 - self._tokens) / self.rate)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._capacity, self._tokens + (now - self._seen) * self.rate)
        # Never a hair short of a whole one: whoever waits for it would wait for nothing.
        if self._tokens > 1 - 1e-6:
            self._tokens = max(self._tokens, 1.0)
        self._seen = now


class RateLimits:
    """The limits of all task types. A limited task waits here, holding no slot, or in the broker
    when more than a moment's worth of its type is here already."""

    def __init__(self, clock: Clock, *, enabled: bool = True) -> None:
        """Make one.

        Args:
            enabled: False: ``worker_disable_rate_limits``, nothing is limited.
        """
        self._clock = clock
        self._enabled = enabled
        self._limit_by_task: dict[str, _Limit] = {}
        self.any = False
        """Whether :meth:`limits` is worth asking."""

    def __len__(self) -> int:
        return sum(len(limit.line) for limit in self._limit_by_task.values())

    def __iter__(self) -> Iterator[Accepted]:
        """What waits here."""
        for limit in self._limit_by_task.values():
            yield from limit.line

    def limits(self, task: str) -> bool:
        """Whether tasks of that type are limited."""
        return task in self._limit_by_task

    def set(self, task: str, rate: str | float | None) -> None:
        """Limit a type from now on, or no more. What waits here goes on waiting under it.

        Raises:
            ValueError: It is not a rate limit.
        """
        allowed = per_second(rate)
        before = self._limit_by_task.pop(task, None)
        waiting = before.line if before else ()
        self.any = bool(self._limit_by_task)
        if (allowed == inf and not waiting) or not self._enabled:
            return
        # Without a limit any more: all of them at once, and then the entry is of no use.
        limit = _Limit(min(allowed, 1e9), self._clock.monotonic())
        limit.line.extend(waiting)
        self._limit_by_task[task] = limit
        self.any = True

    def offer(self, accepted: Accepted) -> float | None:
        """A request that may run as far as all else goes. Returns None when it waits here, else
        the seconds for which the broker should have it again."""
        limit = self._limit_by_task[accepted.request.task]
        if limit.room() > 0:
            limit.line.append(accepted)
            return None
        return limit.park(self._clock.monotonic())

    def keep(self, accepted: Accepted) -> None:
        """A request that must wait here, because the broker cannot."""
        self._limit_by_task[accepted.request.task].line.append(accepted)

    def take(self, limit: int) -> list[Accepted]:
        """Hand over up to ``limit`` requests whose turn it is."""
        now = self._clock.monotonic()
        taken: list[Accepted] = []
        for each in self._limit_by_task.values():
            taken += each.take(now, limit - len(taken))
        return taken

    def next_turn(self) -> float:
        """Seconds until one that waits here may start; ``inf`` when none waits."""
        now = self._clock.monotonic()
        return min((each.next_turn(now) for each in self._limit_by_task.values()), default=inf)

    def take_all(self) -> list[Accepted]:
        """Hand over everything that waits."""
        waiting = list(self)
        for limit in self._limit_by_task.values():
            limit.line.clear()
        return waiting
