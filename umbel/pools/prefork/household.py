"""What pools of child processes have in common, whatever runs in the children."""

from __future__ import annotations

import asyncio
import signal as signals
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Generic, TypeVar

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.grace import unwatched, within
from umbel.pools.outbox import Outbox
from umbel.pools.prefork.births import Births
from umbel.pools.prefork.kin import Kin
from umbel.pools.prefork.nursery import Nursery
from umbel.pools.prefork.slots import Slots

__all__ = ["FAREWELL", "Household"]

K = TypeVar("K", bound=Kin)

_CLOCK = SystemClock()
FAREWELL = 5.0
"""Seconds a child has for closing its runner."""


class Household(ABC, Generic[K]):
    """Has children, hears what they say and what becomes of them, and lets them go.

    A pool says what the children are given (``_dispatch``), what their frames mean (``_receive``),
    what it sees when it looks at them (``_look``), and when there are enough (``_fill``).
    """

    _look_every: float
    """Seconds between two looks at what the children are doing; only while they do something."""

    def __init__(self, size: int, slots: Slots, nursery: Nursery) -> None:
        self._size = size
        self._slots = slots
        self._nursery = nursery
        self._members: dict[int, K] = {}
        self._numbers = count(1)
        # In order; before everything that is submitted later.
        self._pending: deque[Request] = deque()
        self._outbox = Outbox()
        self._unfinished: list[Request] = []
        self._births = Births()
        self._stopping = False
        self._killing = False
        self._stopped = False
        self._look_later: asyncio.TimerHandle | None = None
        self._fill_later: asyncio.TimerHandle | None = None
        self._change = asyncio.Event()
        self._room_changed: Callable[[], None] = unwatched

    async def start(self) -> None:
        """Start the children; returns when each has opened its runner, or died trying."""
        self._nursery.attach(asyncio.get_running_loop(), self)
        self._fill()
        first = set(self._members)
        while any(n in first and not member.ready for n, member in self._members.items()):
            await self._changed()

    async def submit(self, requests: Sequence[Request]) -> None:
        """Hand the requests to the children that have the least to do."""
        self._pending.extend(requests)
        self._dispatch()

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever there may be more room without an outcome having come."""
        self._room_changed = changed

    async def stop(self, *, grace: float) -> list[Request]:
        """Take back what has not started, wait ``grace`` seconds for what has, then kill it.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        if not self._stopped:
            for member in list(self._members.values()):
                self._retire(member)
            try:
                async with within(grace):
                    while any(member.held for member in self._members.values()):
                        await self._changed()
            except TimeoutError:
                self._killing = True
            await self._ended()
            for timer in (self._look_later, self._fill_later):
                if timer is not None:
                    timer.cancel()
            self._nursery.close()
            self._slots.close()
            self._stopped = True
            self._outbox.close()
        # Those that never started first; a killed child's are the last.
        unfinished = [*self._pending, *self._unfinished]
        self._pending.clear()
        self._unfinished.clear()
        return unfinished

    async def _ended(self) -> None:
        """Wait for the processes; those that do not end are killed."""
        if self._killing:
            for member in self._members.values():
                if member.held:
                    member.kill(signals.SIGKILL)
        for _ in range(2):
            try:
                async with asyncio.timeout(FAREWELL):
                    while self._members:
                        await self._changed()
            except TimeoutError:
                for member in self._members.values():
                    member.kill(signals.SIGKILL)
        for member in list(self._members.values()):
            # Not even SIGKILL ends it, the kernel is to blame: go without it.
            self.child_exited(member.number, None)

    async def _changed(self) -> None:
        self._change.clear()
        await self._change.wait()

    def child_started(self, number: int, pid: int) -> None:
        """The child has a process."""
        member = self._members.get(number)
        if member is not None:
            member.pid = pid
            if self._killing:
                member.kill(signals.SIGKILL)

    @abstractmethod
    def child_exited(self, number: int, status: int | None) -> None:
        """The process is gone: decide what becomes of what it held, and replace it."""

    @abstractmethod
    def child_failed(self, number: int, reason: str) -> None:
        """There is no process, and will be none."""

    @abstractmethod
    def child_stopped(self, number: int) -> None:
        """The process was sent SIGSTOP."""

    @abstractmethod
    def child_continued(self, number: int) -> None:
        """The process was sent SIGCONT."""

    @abstractmethod
    def childless(self, reason: str) -> None:
        """There will be no children any more."""

    @abstractmethod
    def _dispatch(self) -> None:
        """Hand out what is pending as far as there is room."""

    @abstractmethod
    def _receive(self, member: K, kind: int, seconds: float, payload: memoryview) -> None:
        """A frame from a child."""

    @abstractmethod
    def _retire(self, member: K) -> None:
        """Let a child end as soon as it holds nothing."""

    @abstractmethod
    def _look(self) -> None:
        """Look after the children."""

    @abstractmethod
    def _fill(self) -> None:
        """Start as many children as there should be, now or when they may be started again."""

    def _watch(self) -> None:
        """See that the children are looked at soon."""
        if self._look_later is None and not self._stopped:
            # A bare timer, not a task: it runs only while there is something to see.
            loop = asyncio.get_running_loop()
            self._look_later = loop.call_later(self._look_every, self._look_now)

    def _look_now(self) -> None:
        self._look_later = None
        self._look()

    @property
    def _must_wait(self) -> bool:
        """Whether no child may be started yet; then they are when one may."""
        wait = self._births.not_before - _CLOCK.monotonic()
        if wait <= 0:
            return False
        if self._fill_later is None:
            # A bare timer: there is nothing to await, and stopping makes it do nothing.
            self._fill_later = asyncio.get_running_loop().call_later(wait, self._fill_now)
        return True

    def _fill_now(self) -> None:
        self._fill_later = None
        self._fill()

    def _bear(self, member: K) -> None:
        """Have a process for it."""
        member.born = _CLOCK.monotonic()
        self._members[member.number] = member

        def on_frame(kind: int, seconds: float, payload: memoryview) -> None:
            self._receive(member, kind, seconds, payload)

        def on_end() -> None:
            # It is dead or about to be; the nursery says how. Until then it gets nothing.
            member.ready = False

        ends = member.connect(asyncio.get_running_loop(), on_frame, on_end)
        self._nursery.start(member.number, member.slot, ends)
