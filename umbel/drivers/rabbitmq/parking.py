"""Deliveries that wait here until they are due: for the part of a second that RabbitMQ cannot."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from umbel.model import Delivery

__all__ = ["Parking"]


class Parking:
    """Deliveries by the moment that they are handed out (again). RabbitMQ knows them as held.

    Args:
        wake: Called when some have become due.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._numbers = count()
        self._heap: list[tuple[float, int, Delivery]] = []
        self._ripe_by_queue: dict[str, deque[Delivery]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    @property
    def any_ripe(self) -> bool:
        """Whether :meth:`take` is worth asking."""
        return bool(self._ripe_by_queue)

    def add(self, delivery: Delivery, delay: float) -> None:
        """Keep a delivery for ``delay`` seconds."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        heapq.heappush(self._heap, (due, next(self._numbers), delivery))
        if self._timer is None or due < self._wakes_at:
            self._set_timer(loop)

    def take(self, queue: str, limit: int) -> list[Delivery]:
        """Up to ``limit`` of a queue's deliveries that are due."""
        ripe = self._ripe_by_queue.get(queue)
        if ripe is None:
            return []
        taken = [ripe.popleft() for _ in range(min(limit, len(ripe)))]
        if not ripe:
            del self._ripe_by_queue[queue]
        return taken

    def count(self, queue: str) -> int:
        """How many of a queue's deliveries are here."""
        return sum(delivery.queue == queue for delivery in self)

    def drop(self, queue: str) -> list[Delivery]:
        """Let go of a queue's deliveries."""
        dropped = [delivery for delivery in self if delivery.queue == queue]
        self._heap = [entry for entry in self._heap if entry[2].queue != queue]
        heapq.heapify(self._heap)
        self._ripe_by_queue.pop(queue, None)
        return dropped

    def drop_all(self) -> list[Delivery]:
        """Let go of everything."""
        dropped = list(self)
        self._heap.clear()
        self._ripe_by_queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return dropped

    def __iter__(self) -> Iterator[Delivery]:
        for ripe in self._ripe_by_queue.values():
            yield from ripe
        for _, _, delivery in self._heap:
            yield delivery

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = self._heap[0][0]
        self._timer = loop.call_at(self._wakes_at, self._ripen)

    def _ripen(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        while self._heap and self._heap[0][0] <= now:
            delivery = heapq.heappop(self._heap)[2]
            self._ripe_by_queue.setdefault(delivery.queue, deque()).append(delivery)
        if self._heap:
            self._set_timer(loop)
        self._wake()
