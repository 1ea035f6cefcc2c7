"""What goes between a loop and the thread that owns its database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from umbel.drivers.sqlite.session import Session, Stamp

__all__ = ["Job", "Waiters"]

T = TypeVar("T")


class Job(Generic[T]):
    """Something to do with the database, and who waits for it.

    Args:
        work: Done in the thread.
        writes: In a transaction. Otherwise ``work`` makes its own, should it need one.
        unseen: Gets, on the loop, a result whose asker had been cancelled meanwhile.
    """

    __slots__ = ("future", "loop", "unseen", "work", "writes")

    def __init__(
        self,
        work: Callable[[Session], T],
        *,
        loop: asyncio.AbstractEventLoop,
        writes: bool = True,
        unseen: Callable[[T], None] | None = None,
    ) -> None:
        self.work = work
        self.writes = writes
        self.unseen = unseen
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def detach(self) -> None:
        """Nobody waits for it, nor minds whether it fails."""
        self.future.add_done_callback(_look_at)

    async def result(self) -> T:
        """Wait until it is done."""
        try:
            return await self.future
        except asyncio.CancelledError:
            future = self.future
            if future.done() and not future.cancelled() and future.exception() is None:
                # Cancelled when the result was there, and we were about to get it.
                self._not_seen(future.result())
            raise

    def finish(self, result: T, error: Exception | None) -> None:
        """Tell the loop; called in the thread."""
        try:
            self.loop.call_soon_threadsafe(self._deliver, result, error)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    def _deliver(self, result: T, error: Exception | None) -> None:
        if self.future.done():
            if error is None:
                self._not_seen(result)
        elif error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    def _not_seen(self, result: T) -> None:
        if self.unseen is not None:
            self.unseen(result)


def _look_at(future: asyncio.Future[T]) -> None:
    # An error that nobody has looked at is reported as a mistake.
    if not future.cancelled():
        future.exception()


class Waiters:
    """Who waits for news on the loop; the thread sees it too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # Changed on the loop only; the thread looks whether there are any.
        self._stamp_by_future: dict[asyncio.Future[None], Stamp] = {}

    def __bool__(self) -> bool:
        return bool(self._stamp_by_future)

    def add(self, stamp: Stamp) -> asyncio.Future[None]:
        """Someone who has seen everything up to ``stamp``."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._stamp_by_future[future] = stamp
        return future

    def remove(self, future: asyncio.Future[None]) -> None:
        """They no longer wait."""
        self._stamp_by_future.pop(future, None)

    def clear(self) -> None:
        """Forget them: they were on the loop of another process."""
        self._stamp_by_future.clear()

    def wake(self, stamp: Stamp | None) -> None:
        """Wake those who have not seen ``stamp``; None: everyone. On the loop."""
        for future, seen in self._stamp_by_future.items():
            if seen != stamp and not future.done():
                future.set_result(None)

    def wake_from_thread(self, stamp: Stamp) -> None:
        """The same, called in the thread."""
        if self._stamp_by_future:
            try:
                self.loop.call_soon_threadsafe(self.wake, stamp)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                return
