"""Dead letters in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from umbel.drivers.memory.store import MemoryStore
from umbel.model import DeadLetter

__all__ = ["MemoryDeadLetters"]


class MemoryDeadLetters:
    """Implements ``umbel.protocols.DeadLetterStore``."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def count(self) -> int:
        """How many there are."""
        return len(self._store.dead)

    async def latest(self, *, limit: int, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first."""
        with self._store.mutex:
            return list(islice(reversed(self._store.dead.values()), skip, skip + limit))

    async def load(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these that exist."""
        with self._store.mutex:
            return [self._store.dead[id] for id in ids if id in self._store.dead]

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many there were."""
        with self._store.mutex:
            return sum(self._store.dead.pop(id, None) is not None for id in ids)
