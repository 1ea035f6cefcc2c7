"""A result backend in the memory of one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from umbel.drivers.memory.store import MemoryStore
from umbel.drivers.memory.subscription import Subscription
from umbel.exceptions import BackendUnavailable
from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord
from umbel.protocols import Clock

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """Implements ``umbel.protocols.ResultBackend``.

    Args:
        store: Shared by all clients that are to meet.
    """

    counts_chords = True

    def __init__(self, store: MemoryStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._opened = False

    def uses(self, store: MemoryStore) -> bool:
        """Whether this is a client of that store."""
        return self._store is store

    async def open(self) -> None:
        """Be ready. Idempotent."""
        self._opened = True

    async def close(self) -> None:
        """Idempotent."""
        self._opened = False

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Keep the records, but for those that would lower a final state."""
        self._require_open()
        now = self._clock.time()
        told: list[tuple[Subscription[ResultRecord], ResultRecord]] = []
        with self._store.mutex:
            for record in records:
                subscriptions = self._store.results.store(record, now)
                told += [(subscription, record) for subscription in subscriptions]
        for subscription, record in told:
            subscription.add([record])

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """The records that exist; unknown ids are simply absent."""
        self._require_open()
        with self._store.mutex:
            return self._store.results.load(ids, self._clock.time())

    async def forget(self, ids: Sequence[str]) -> None:
        """Delete the records; unknown ids are ignored."""
        self._require_open()
        with self._store.mutex:
            self._store.results.forget(ids)

    @asynccontextmanager
    async def watch(self, ids: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those already there first, then each change."""
        self._require_open()
        results = self._store.results
        subscription: Subscription[ResultRecord] = Subscription(key=lambda record: record.id)
        with self._store.mutex:
            results.subscribe(ids, subscription)
            subscription.add(results.load(ids, self._clock.time()).values())
        try:
            yield subscription
        finally:
            with self._store.mutex:
                results.unsubscribe(ids, subscription)

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Keep the groups."""
        self._require_open()
        with self._store.mutex:
            self._store.results.store_groups(groups, self._clock.time())

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """The groups that exist; unknown ids are simply absent."""
        self._require_open()
        with self._store.mutex:
            return self._store.results.load_groups(ids, self._clock.time())

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups; unknown ids are ignored."""
        self._require_open()
        with self._store.mutex:
            self._store.results.forget_groups(ids)

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say what chords there are, and how many members are to arrive at each."""
        self._require_open()
        with self._store.mutex:
            self._store.results.chords.expect(expected, self._clock.time())

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """More tasks are to arrive at each chord."""
        self._require_open()
        with self._store.mutex:
            self._store.results.chords.enlarge(members, self._clock.time())

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count chord members in, each index once; returns the chords that are full."""
        self._require_open()
        with self._store.mutex:
            return self._store.results.chords.arrive(arrivals, self._clock.time())

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """The chords' bodies are published: never report them again."""
        self._require_open()
        with self._store.mutex:
            self._store.results.chords.seal(chord_ids, self._clock.time())

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each publication is the one that runs."""
        self._require_open()
        with self._store.mutex:
            return self._store.results.chords.claim(publications, self._clock.time())

    async def prune(self, *, before: float, limit: int) -> int:
        """Delete up to ``limit`` records that expired before ``before`` (Unix seconds)."""
        self._require_open()
        with self._store.mutex:
            return self._store.results.prune(before, limit)

    def _require_open(self) -> None:
        if not self._opened:
            raise BackendUnavailable("the memory result backend is closed; await open() first")
