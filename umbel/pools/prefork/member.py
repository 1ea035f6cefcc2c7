"""A child, as its parent sees it."""

from __future__ import annotations

import signal as signals
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from umbel.model import Outcome, Request
from umbel.pools.pace import Pace
from umbel.pools.prefork.kin import Kin
from umbel.pools.prefork.slots import NONE, Slots
from umbel.protocols import Running

__all__ = ["Member", "Sentence", "deal"]

_DOUBLE = 8
"""From this many at once on tasks are short enough to keep a second batch under way."""


@dataclass(slots=True)
class Sentence:
    """The decision to send a signal to a child because of one request. It is carried out a look
    later: see ``Slots.doomed``."""

    key: int
    signal: signals.Signals
    passed: float
    """On the monotonic clock; when it is executed, when that was."""
    overdue: bool = False
    """Whether the hard time limit is the reason."""
    executed: bool = False


class Member(Kin):
    """What was handed to one child and has no outcome yet, and how much more it may have."""

    def __init__(
        self, number: int, slot: int, slots: Slots, *, prefetch: int | None, budget: int | None
    ) -> None:
        super().__init__(number, slot, slots)
        self.is_born = False
        """Whether it has got as far as opening its runner."""
        self.returning = False
        """Has been told to hand back what it has not started, and has not answered."""
        self.stuck = False
        """Its current task is a long one: nothing may wait behind it."""
        self.sentence: Sentence | None = None
        self.overtime: int | None = None
        """The key of the request that was last told of its soft time limit."""
        self.limited = 0
        """How many of ``held`` have time limits."""
        self.awaited_since: float | None = None
        """Since when it should have been ready; None: it is."""
        self.stopped_since: float | None = None
        """Since when it runs nothing because of a SIGSTOP; None: it does not."""
        self._prefetch = prefetch
        self._budget = budget
        self._pace = Pace()

    @property
    def room(self) -> int:
        """How many more requests it may have now."""
        if not self.ready or self.retiring or self.returning or self.stuck or self.stopped_since:
            return 0
        limit = self._pace.ahead
        if limit >= _DOUBLE:
            limit *= 2
        if self._prefetch is not None and limit > self._prefetch:
            limit = self._prefetch
        limit -= len(self.held)
        if self._budget is not None and limit > self._budget:
            limit = self._budget
        return max(0, limit)

    @property
    def needs_a_look(self) -> bool:
        """Whether its parent has to watch it."""
        return bool(
            self.held
            or self.awaited_since is not None
            or self.sentence is not None
            or self.stopped_since is not None
        )

    @property
    def spent(self) -> bool:
        """Whether it has run as many tasks as it may."""
        return self._budget is not None and self._budget <= 0 and not self.held

    def give(self, requests: Sequence[Request]) -> list[Outcome]:
        """Hand requests over; returns outcomes for those that cannot be encoded."""
        failures = super().give(requests)
        for request in requests:
            if request.time_limit is not None or request.soft_time_limit is not None:
                self.limited += request.key in self.held
        if self._budget is not None:
            self._budget -= len(requests) - len(failures)
        return failures

    def take(self, outcomes: list[Outcome], seconds: float) -> list[Outcome]:
        """Note outcomes, which took ``seconds`` together; returns them."""
        self._pace.observe(seconds, len(outcomes))
        self.stuck = False
        pop = self.held.pop
        known = [outcome for outcome in outcomes if pop(outcome.key, None) is not None]
        if self.limited:
            self._count_limited()
        sentence = self.sentence
        if sentence is not None and not sentence.executed and sentence.key not in self.held:
            self.pardon()
        return known

    def take_back(self, keys: Sequence[int]) -> list[Request]:
        """Note what the child will not start; returns it, the last one first as the keys are."""
        self.returning = False
        if self._budget is not None:
            self._budget += len(keys)
        pop = self.held.pop
        requests = [request for key in keys if (request := pop(key, None)) is not None]
        if self.limited:
            self._count_limited()
        return requests

    def condemn(self, key: int, signal: signals.Signals, now: float, *, overdue: bool) -> None:
        """Decide to send the signal, should it still run the request at the next look."""
        if self.sentence is None or not self.sentence.overdue:
            self.sentence = Sentence(key, signal, now, overdue)
            self._slots.doomed[self.slot] = key
            # So that what it has finished, and has not sent, is not lost with it.
            self.ask_back()

    def pardon(self) -> None:
        """The request of the sentence has ended; let the child go on."""
        self.sentence = None
        self._slots.doomed[self.slot] = NONE

    def tell_overtime(self, key: int) -> bool:
        """Have ``SoftTimeLimitExceeded`` raised in a request; returns whether it is for the first
        time. Repeats it as long as it was not heard: the child may not have been listening."""
        overtime = self._slots.overtime
        first = self.overtime != key
        if first:
            self.overtime = key
            overtime[self.slot] = key
        if overtime[self.slot] == key:
            self.send_signal(signals.SIGUSR1)
        return first

    @property
    def is_speaking(self) -> bool:
        """Whether it has said nothing yet, or something since this was asked last."""
        return self._hearing is not None and self._hearing.is_speaking

    def _count_limited(self) -> None:
        self.limited = sum(
            request.time_limit is not None or request.soft_time_limit is not None
            for request in self.held.values()
        )

    def ask_back(self) -> None:
        """Have it hand back what it has not started, and send what it has finished."""
        if self.returning or not self.held or self._hearing is None:
            return
        self.returning = True
        self._hearing.tell(b"r")

    def started(self) -> int | None:
        """The key of the request that it has started last, unless that one has an outcome."""
        key = self._slots.keys[self.slot]
        return key if key in self.held else None

    def running(self) -> Running | None:
        """The same, with when it was started."""
        key = self.started()
        if key is None or self.pid is None:
            return None
        return Running(key, self._slots.times[self.slot], self.pid)

    def running_for(self, now: float) -> float:
        """Seconds since it started what it started last."""
        return now - self._slots.times[self.slot]

    def part(self) -> tuple[list[Request], list[Request]]:
        """It is dead: read its last words; returns what it had started, and what it had not."""
        self.close()
        requests = list(self.held.values())
        last = self.started()
        self.held.clear()
        for index, request in enumerate(requests):
            if request.key == last:
                # One that it had taken up in the last moment waited: see Slots.doomed.
                sentence = self.sentence
                waited = sentence is not None and sentence.executed and sentence.key != last
                count = index if waited else index + 1
                return requests[:count], requests[count:]
        return [], requests


def deal(pending: deque[Request], members: Collection[Member]) -> list[Outcome]:
    """Hand out what is pending as far as there is room, the emptiest child first; returns
    outcomes for requests that cannot be encoded."""
    failures: list[Outcome] = []
    while pending:
        able = [member for member in members if member.room]
        if not able:
            break
        able.sort(key=lambda member: len(member.held))
        share = -(-len(pending) // len(able))
        for member in able:
            count = min(member.room, share, len(pending))
            if count:
                failures += member.give([pending.popleft() for _ in range(count)])
    return failures
