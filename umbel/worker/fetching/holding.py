"""Requests that wait in this worker until they are due, for brokers that cannot wait themselves."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from math import inf

from umbel.worker.fetching.admission import Accepted

__all__ = ["Holding"]


class Holding:
    """Accepted requests by the time they are due. They stay leased all the while."""

    def __init__(self, limit: int | None = None) -> None:
        """Make one.

        Args:
            limit: ``worker_eta_task_limit``: how many may wait here; None: any number.
        """
        self._limit = inf if limit is None else limit
        self._heap: list[tuple[float, int, Accepted]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Accepted]:
        return (accepted for _, _, accepted in self._heap)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be received: it could be one more to hold."""
        return len(self._heap) >= self._limit

    @property
    def next_due(self) -> float:
        """When the first one is due, in Unix seconds; ``inf`` when nothing waits."""
        return self._heap[0][0] if self._heap else inf

    def add(self, requests: Iterable[Accepted]) -> None:
        """Hold the requests until they are due."""
        for accepted in requests:
            # The key is unique and rises with arrival: equal times keep their order.
            key = accepted.request.key
            heapq.heappush(self._heap, (accepted.request.eta or 0.0, key, accepted))

    def take_due(self, now: float, limit: int) -> list[Accepted]:
        """Hand over up to ``limit`` requests whose time has come, earliest first."""
        due: list[Accepted] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def take_all(self) -> list[Accepted]:
        """Hand over everything that waits."""
        waiting = [accepted for _, _, accepted in sorted(self._heap, key=lambda entry: entry[:2])]
        self._heap.clear()
        return waiting

    def discard(self, keys: set[int]) -> None:
        """Forget requests whose messages belong to someone else now."""
        self._heap = [entry for entry in self._heap if entry[1] not in keys]
        heapq.heapify(self._heap)
