"""Where finished requests wait until the worker asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from umbel.model import Outcome

__all__ = ["Outbox"]


class Outbox:
    """Outcomes on their way from a pool to the one that awaits :meth:`take`.

    Belongs to one event loop; touched on its thread only.
    """

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: Exception | None = None

    def put(self, outcomes: Sequence[Outcome]) -> None:
        """Add what has finished, and wake who waits."""
        self._outcomes += outcomes
        self._wake()

    def close(self) -> None:
        """Nothing comes any more."""
        self._closed = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing comes any more, because of ``error``: raised once everything is taken."""
        self._error = error
        self._wake()

    async def take(self) -> list[Outcome]:
        """Wait until there is something, then take it all; empty when nothing comes any more.

        Cancelling it loses nothing: what it did not return is still there.
        """
        while not self._outcomes:
            if self._error is not None:
                raise self._error
            if self._closed:
                # Lets a caller that loops for ever be cancelled.
                await asyncio.sleep(0)
                return []
            # A bare future: an Event costs three times as much, and this is once per batch.
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        outcomes = self._outcomes
        self._outcomes = []
        return outcomes

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
