"""Revocations in memory."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.drivers.memory.store import MemoryStore
from umbel.model import Revocation

__all__ = ["MemoryRevocations"]


class MemoryRevocations:
    """Implements ``umbel.protocols.RevocationStore``."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def add(self, revocations: Sequence[Revocation], *, keep: int) -> None:
        """Keep these too, ``keep`` in all."""
        store = self._store
        with store.mutex:
            kept = store.revocations
            for revocation in revocations:
                # Taken out first: the latest come last.
                kept.pop(revocation, None)
                kept[revocation] = store.number()
            for oldest in list(kept)[: max(0, len(kept) - keep)]:
                del kept[oldest]

    async def since(self, mark: int) -> tuple[list[Revocation], int]:
        """What was added after a mark, the oldest first, and the next mark."""
        with self._store.mutex:
            kept = self._store.revocations
            found = [revocation for revocation, number in kept.items() if number > mark]
            return found, kept[found[-1]] if found else mark
