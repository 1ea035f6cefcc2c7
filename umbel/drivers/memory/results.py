"""Results, groups and chords in memory. Not thread-safe: the store's mutex is held."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from umbel.drivers.memory.chords import Chords
from umbel.drivers.memory.subscription import Subscription
from umbel.model import GroupRecord, ResultRecord
from umbel.states import finality

__all__ = ["Results"]

_SWEPT_AT_ONCE = 10


class Results:
    """What a memory backend keeps."""

    def __init__(self) -> None:
        self._records: dict[str, ResultRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self.chords = Chords()
        # When something may be dropped, earliest first; what was replaced since is skipped.
        self._expiries: list[tuple[float, str, str]] = []
        self._subscriptions: dict[str, set[Subscription[ResultRecord]]] = {}

    def store(self, record: ResultRecord, now: float) -> set[Subscription[ResultRecord]]:
        """Keep a record unless a more final one is there; returns who wants to hear of it."""
        self._sweep(now)
        current = self._live(record.id, now)
        if current is not None and finality(record.state) > finality(current.state):
            return set()
        self._records[record.id] = record
        if record.expires_at is not None:
            heappush(self._expiries, (record.expires_at, "record", record.id))
        return self._subscriptions.get(record.id, set())

    def load(self, ids: Sequence[str], now: float) -> dict[str, ResultRecord]:
        """The records that exist."""
        found = ((id_, self._live(id_, now)) for id_ in ids)
        return {id_: record for id_, record in found if record is not None}

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records."""
        for id_ in ids:
            self._records.pop(id_, None)

    def subscribe(self, ids: Sequence[str], subscription: Subscription[ResultRecord]) -> None:
        """Tell the subscription of every change."""
        for id_ in ids:
            self._subscriptions.setdefault(id_, set()).add(subscription)

    def unsubscribe(self, ids: Sequence[str], subscription: Subscription[ResultRecord]) -> None:
        """No longer."""
        for id_ in ids:
            subscriptions = self._subscriptions.get(id_)
            if subscriptions is not None:
                subscriptions.discard(subscription)
                if not subscriptions:
                    del self._subscriptions[id_]

    def store_groups(self, groups: Sequence[GroupRecord], now: float) -> None:
        """Keep the groups."""
        self._sweep(now)
        for group in groups:
            self._groups[group.id] = group
            if group.expires_at is not None:
                heappush(self._expiries, (group.expires_at, "group", group.id))

    def load_groups(self, ids: Sequence[str], now: float) -> dict[str, GroupRecord]:
        """The groups that exist."""
        found = ((id_, self._groups.get(id_)) for id_ in ids)
        return {
            id_: group
            for id_, group in found
            if group is not None and (group.expires_at is None or group.expires_at > now)
        }

    def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups."""
        for id_ in ids:
            self._groups.pop(id_, None)

    def prune(self, before: float, limit: int) -> int:
        """Delete up to ``limit`` records that expired before then; returns how many."""
        pruned = 0
        while self._expiries and pruned < limit and self._expiries[0][0] < before:
            pruned += self._drop(*heappop(self._expiries))
        return pruned

    def _sweep(self, now: float) -> None:
        """So that a process that never prunes does not grow for ever."""
        self.chords.sweep(now)
        for _ in range(_SWEPT_AT_ONCE):
            if not self._expiries or self._expiries[0][0] > now:
                return
            self._drop(*heappop(self._expiries))

    def _drop(self, expiry: float, kind: str, id_: str) -> bool:
        if kind == "record":
            record = self._records.get(id_)
            if record is not None and record.expires_at == expiry:
                del self._records[id_]
                return True
        else:
            group = self._groups.get(id_)
            if group is not None and group.expires_at == expiry:
                del self._groups[id_]
        return False

    def _live(self, id_: str, now: float) -> ResultRecord | None:
        record = self._records.get(id_)
        if record is None or (record.expires_at is not None and record.expires_at <= now):
            return None
        return record
