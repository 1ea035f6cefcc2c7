"""A child process, as a parent of whatever kind sees it."""

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

__all__ = ["Kin"]


class Kin:
    """A child's process, the channels to it, and what was handed to it."""

    def __init__(self, number: int, slot: int, slots: Slots) -> None:
        """Make one, without a process yet.

        Args:
            slot: Its place in the shared memory.
        """
        self.number = number
        self.slot = slot
        self.held: dict[int, Request] = {}
        """What it was given and has no outcome yet: by key, in the order in which it was given."""
        self.pid: int | None = None
        self.born = 0.0
        """On the monotonic clock."""
        self.ready = False
        self.retiring = False
        """Gets nothing more, and ends when it has nothing left."""
        self._slots = slots
        self._link: Link | None = None
        self._hearing: Hearing | None = None

    def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[int, float, memoryview], None],
        on_end: Callable[[], None],
    ) -> tuple[socket.socket, socket.socket]:
        """Make the channels; returns the child's ends."""
        data, its_data = socket.socketpair()
        control, its_control = socket.socketpair()
        self._hearing = Hearing(loop, control)
        self._link = Link(loop, data, on_frame, on_end)
        self._slots.clear(self.slot)
        return its_data, its_control

    def give(self, requests: Sequence[Request]) -> list[Outcome]:
        """Hand requests over; returns outcomes for those that cannot be encoded."""
        assert self._link is not None, "connect() comes first"
        good, payload, failures = encoded(requests)
        held = self.held
        for request in good:
            held[request.key] = request
        self._link.send(frame(REQUESTS, payload))
        return failures

    def send_signal(self, number: signals.Signals) -> None:
        """Send a signal to its process, if it has one: otherwise it is not yet forked, or has not
        yet said its number, and a stop that wants it dead will ask again."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self, number: signals.Signals) -> None:
        """Send a signal that it obeys, whichever it is."""
        self._slots.ordered[self.slot] = 1
        self.send_signal(number)

    def words(self) -> str:
        """What it has said since it was last asked: a stack, or why it ends."""
        return "" if self._hearing is None else self._hearing.words()

    def finish(self) -> None:
        """Let it end; only when it holds nothing."""
        self.retiring = True
        if self._link is not None:
            self._link.finish()

    def close(self) -> None:
        """It is dead: read what it has sent last, and let go of the channels."""
        if self._link is not None:
            self._link.drain()
            self._link.close()
        if self._hearing is not None:
            self._hearing.close()
