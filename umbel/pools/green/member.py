"""A child that runs greenlets, as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import signal as signals
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from umbel.model import Outcome, Request
from umbel.pools.prefork.channel import REQUESTS, Link, frame
from umbel.pools.prefork.hearing import Hearing
from umbel.pools.prefork.sifting import encoded
from umbel.pools.prefork.slots import Slots

__all__ = ["GreenMember"]


class GreenMember:
    """What one child holds, and since when it runs it."""

    def __init__(self, number: int, slots: Slots) -> None:
        self.number = number
        self.pid: int | None = None
        self.born = 0.0
        """On the monotonic clock."""
        self.ready = False
        self.retiring = False
        """Gets nothing more, and ends when it has nothing left."""
        self.held: dict[int, Request] = {}
        self.since: dict[int, float] = {}
        """When those that run were started, on the monotonic clock."""
        self.told: set[int] = set()
        """Keys of those that have been told of their soft time limit."""
        self.ending: dict[int, float] = {}
        """Since when the child has not heard that it is to end these, by key."""
        self.stack_asked = False
        """Whether it has been asked where it is."""
        self._slots = slots
        self._link: Link | None = None
        self._hearing: Hearing | None = None

    @property
    def slot(self) -> int:
        """Its place in the shared memory; after its number, since there are hardly two at once."""
        return self.number % 64

    def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[int, float, memoryview], None],
        on_end: Callable[[], None],
    ) -> tuple[socket.socket, socket.socket]:
        """Make the channels; returns the child's ends."""
        data, its_data = socket.socketpair()
        control, its_control = socket.socketpair()
        self._link = Link(loop, data, on_frame, on_end)
        self._hearing = Hearing(loop, control)
        self._slots.clear(self.slot)
        return its_data, its_control

    def give(self, requests: Sequence[Request]) -> list[Outcome]:
        """Hand requests over; returns outcomes for those that cannot be encoded."""
        assert self._link is not None, "connect() comes first"
        good, payload, failures = encoded(requests)
        for request in good:
            self.held[request.key] = request
        self._link.send(frame(REQUESTS, payload))
        return failures

    def interrupt(self, key: int) -> None:
        """Have ``SoftTimeLimitExceeded`` raised in a request."""
        self.told.add(key)
        self._tell(b"s%d\n" % key)

    def cancel(self, key: int, now: float) -> None:
        """Have ``TaskCancelled`` raised in a request."""
        self.ending.setdefault(key, now)
        self._tell(b"c%d\n" % key)

    def forget(self, key: int) -> Request | None:
        """The request has an outcome; returns it, unless it had one before."""
        self.since.pop(key, None)
        self.told.discard(key)
        self.ending.pop(key, None)
        return self.held.pop(key, None)

    def kill(self, number: signals.Signals) -> None:
        """Send its process a signal, and let it obey."""
        self._slots.ordered[self.slot] = 1
        self.send_signal(number)

    def send_signal(self, number: signals.Signals) -> None:
        """Send its process a signal, if it has one."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def finish(self) -> None:
        """Let it end; only when it holds nothing."""
        self.retiring = True
        if self._link is not None:
            self._link.finish()

    def words(self) -> str:
        """What it has said since it was last asked: a stack, or why it ends."""
        return "" if self._hearing is None else self._hearing.words()

    def part(self) -> None:
        """It is dead: read its last words."""
        if self._link is not None:
            self._link.drain()
            self._link.close()
        if self._hearing is not None:
            self._hearing.close()

    def _tell(self, order: bytes) -> None:
        if self._hearing is not None:
            self._hearing.tell(order)
