"""Sleeping until there may be something to take."""

from __future__ import annotations

import asyncio
from math import inf

import hiredis

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import Push, Reply

__all__ = ["News"]

_POLL = 0.25
_SOON = 0.001
"""Seconds until the next take, at least, when something is due."""


class News:
    """Wakes receives that sleep, when Redis says that a list has changed, or somebody else does."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def heard(self, push: Push) -> None:
        """Take in what Redis sent unasked."""
        if push[0] == b"invalidate":
            self.wake()

    def wake(self) -> None:
        """Wake all who sleep."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, client: Client, look: bytes, seconds: float, misses: int) -> int:
        """Sleep until a list or the schedule of parked messages changes, or ``seconds`` are over.

        Redis tells a client when a key it has read changes; so we read whether the lists exist,
        and sleep if they do not. Where it cannot tell, we look again every quarter of a second.

        Args:
            look: The commands that look at the lists, at what is parked, and at the clock.
            misses: What the last wait in this row has returned.

        Returns:
            How often in a row there was something to see but nothing to take.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            # Looked at after each await: set by the handshake of a new connection.
            replies = await client.send(look, 4, again=True)
            # Something may have been parked since the take that found nothing, and before
            # Redis was asked to tell of it.
            seconds = min(seconds, _due_in(replies[2], replies[3]))
            if isinstance(replies[0], hiredis.ReplyError) or not client.can_track:
                seconds = min(seconds, _POLL)
            elif replies[1]:
                # Somebody else was faster, or the list holds what cannot be taken.
                misses += 1
                seconds = min(seconds, _POLL, 0.0005 * 2**misses) if misses > 1 else 0.0
                if not seconds:
                    return misses
            else:
                misses = 0
            timer = loop.call_later(seconds, _finish, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        finally:
            self._waiters.discard(waiter)
        return misses


def _due_in(first: Reply, clock: Reply) -> float:
    """Seconds until the first parked message is due, by the server's clock."""
    if isinstance(first, hiredis.ReplyError) or isinstance(clock, hiredis.ReplyError) or not first:
        return inf
    return max(float(first[0][1]) - int(clock[0]) - int(clock[1]) / 1e6, _SOON)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
