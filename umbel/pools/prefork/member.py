"""A child, as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import Signals

import msgspec

from umbel.model import Outcome, Request
from umbel.pools.pace import Pace
from umbel.pools.prefork.channel import REQUESTS, Link, encode, frame
from umbel.pools.prefork.slots import Slots
from umbel.pools.verdicts import unencodable
from umbel.protocols import Running

__all__ = ["Member"]

_DOUBLE = 8
"""From this many at once on tasks are short enough to keep a second batch under way."""


class Member:
    """What was handed to one child and has no outcome yet, and how much more it may have."""

    def __init__(
        self, number: int, slot: int, slots: Slots, *, prefetch: int | None, budget: int | None
    ) -> None:
        self.number = number
        self.slot = slot
        self.held: dict[int, Request] = {}
        """By key, in the order in which the child will start them."""
        self.pid: int | None = None
        self.born = 0.0
        """On the monotonic clock."""
        self.ready = False
        self.retiring = False
        """Gets nothing more, and ends when it has nothing left."""
        self.returning = False
        """Has been told to hand back what it has not started, and has not answered."""
        self.stuck = False
        """Its current task is a long one: nothing may wait behind it."""
        self._slots = slots
        self._prefetch = prefetch
        self._budget = budget
        self._pace = Pace()
        self._link: Link | None = None
        self._control: socket.socket | None = None

    @property
    def room(self) -> int:
        """How many more requests it may have now."""
        if not self.ready or self.retiring or self.returning or self.stuck:
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
    def spent(self) -> bool:
        """Whether it has run as many tasks as it may."""
        return self._budget is not None and self._budget <= 0 and not self.held

    def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[int, float, memoryview], None],
        on_end: Callable[[], None],
    ) -> tuple[socket.socket, socket.socket]:
        """Make the channels; returns the child's ends."""
        data, its_data = socket.socketpair()
        self._control, its_control = socket.socketpair()
        self._control.setblocking(False)
        self._link = Link(loop, data, on_frame, on_end)
        self._slots.clear(self.slot)
        return its_data, its_control

    def give(self, requests: Sequence[Request]) -> list[Outcome]:
        """Hand requests over; returns outcomes for those that cannot be encoded."""
        assert self._link is not None, "connect() comes first"
        failures: list[Outcome] = []
        try:
            payload = encode(requests)
        except (TypeError, ValueError, OverflowError, RecursionError):
            requests, failures = _sift(requests)
            payload = encode(requests)
        held = self.held
        for request in requests:
            held[request.key] = request
        if self._budget is not None:
            self._budget -= len(requests)
        self._link.send(frame(REQUESTS, payload))
        return failures

    def take(self, outcomes: list[Outcome], seconds: float) -> list[Outcome]:
        """Note outcomes, which took ``seconds`` together; returns them."""
        self._pace.observe(seconds, len(outcomes))
        self.stuck = False
        pop = self.held.pop
        return [outcome for outcome in outcomes if pop(outcome.key, None) is not None]

    def take_back(self, keys: Sequence[int]) -> list[Request]:
        """Note what the child will not start; returns it, the last one first as the keys are."""
        self.returning = False
        if self._budget is not None:
            self._budget += len(keys)
        pop = self.held.pop
        return [request for key in keys if (request := pop(key, None)) is not None]

    def ask_back(self) -> None:
        """Have it hand back what it has not started, and send what it has finished."""
        if self.returning or not self.held or self._control is None:
            return
        self.returning = True
        try:
            self._control.send(b"r")
        except OSError:
            # It is dead; what becomes of its requests is decided when its end is reported.
            return

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

    def order_to_end(self) -> None:
        """Let it obey the SIGTERM that comes next."""
        self._slots.ordered[self.slot] = 1

    def kill(self, number: Signals) -> None:
        """Send its process a signal, and let it obey."""
        if self.pid is None:
            # Not yet forked, or not yet known; the pool does it when a stop asks for it.
            return
        self.order_to_end()
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def running_for(self, now: float) -> float:
        """Seconds since it started what it started last."""
        return now - self._slots.times[self.slot]

    def finish(self) -> None:
        """Let it end; only when it holds nothing."""
        self.retiring = True
        if self._link is not None:
            self._link.finish()

    def part(self) -> tuple[list[Request], list[Request]]:
        """It is dead: read its last words; returns what it had started, and what it had not."""
        if self._link is not None:
            self._link.drain()
            self._link.close()
        if self._control is not None:
            self._control.close()
        requests = list(self.held.values())
        last = self.started()
        self.held.clear()
        for index, request in enumerate(requests, 1):
            if request.key == last:
                return requests[:index], requests[index:]
        return [], requests


def _sift(requests: Sequence[Request]) -> tuple[list[Request], list[Outcome]]:
    good: list[Request] = []
    failures: list[Outcome] = []
    for request in requests:
        try:
            encode(request)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            failures.append(unencodable(request.key, error))
        else:
            good.append(request)
    return good, failures
