"""Someone who wants to hear of what happens: changes gather until they are fetched."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import count
from typing import Generic, TypeVar

from umbel.drivers.memory.waking import Sleeper

__all__ = ["Subscription"]

T = TypeVar("T")


class Subscription(AsyncIterator[list[T]], Generic[T]):
    """An asynchronous iterator over batches; filled from any thread, read on one loop.

    Args:
        key: Of two items with the same key only the newer one is kept; None: all are.
        limit: Most that may gather; beyond it the oldest are lost.
    """

    def __init__(
        self, *, key: Callable[[T], object] | None = None, limit: int | None = None
    ) -> None:
        self._mutex = threading.Lock()
        self._key = key
        self._limit = limit
        self._numbers = count()
        # Guarded by the mutex.
        self._gathered: dict[object, T] = {}
        self._sleeper: Sleeper | None = None
        self._failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        """There will be nothing new."""
        with self._mutex:
            self._failure = error
            sleeper = self._sleeper
        if sleeper is not None:
            sleeper.wake()

    def add(self, items: Iterable[T]) -> None:
        """There is something new."""
        with self._mutex:
            for item in items:
                key = next(self._numbers) if self._key is None else self._key(item)
                self._gathered[key] = item
            while self._limit is not None and len(self._gathered) > self._limit:
                del self._gathered[next(iter(self._gathered))]
            sleeper = self._sleeper
        if sleeper is not None:
            sleeper.wake()

    async def __anext__(self) -> list[T]:
        while True:
            with self._mutex:
                if self._gathered:
                    gathered, self._gathered = self._gathered, {}
                    return list(gathered.values())
                if self._failure is not None:
                    raise self._failure
                sleeper = self._sleeper = Sleeper()
            try:
                await sleeper.rest()
            finally:
                self._sleeper = None
