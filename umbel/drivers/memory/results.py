"""Results, groups and chords in memory. Not thread-safe: the store's mutex is held."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from umbel.drivers.memory.subscription import Subscription
from umbel.model import Arrival, FullChord, GroupRecord, ResultRecord
from umbel.states import finality

__all__ = ["Results"]

_SEALED_KEPT = 86_400.0
"""Seconds for which a chord that is done is not counted anew; a repeat comes within the
life of a message."""
_SWEPT_AT_ONCE = 10


class _Chord:
    __slots__ = ("arrived", "sealed_until", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived: dict[int, ResultRecord] = {}
        # None: not sealed.
        self.sealed_until: float | None = None


class Results:
    """What a memory backend keeps."""

    def __init__(self) -> None:
        self._records: dict[str, ResultRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._chords: dict[str, _Chord] = {}
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

    def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count members in; returns the chords among them that are full and not sealed."""
        for arrival in arrivals:
            chord = self._chords.get(arrival.chord_id)
            if chord is None:
                chord = self._chords[arrival.chord_id] = _Chord(arrival.size)
            if chord.sealed_until is None:
                chord.arrived.setdefault(arrival.index, arrival.record)
        full: list[FullChord] = []
        for chord_id in dict.fromkeys(arrival.chord_id for arrival in arrivals):
            chord = self._chords[chord_id]
            if chord.sealed_until is None and len(chord.arrived) >= chord.size:
                records = tuple(record for _, record in sorted(chord.arrived.items()))
                full.append(FullChord(id=chord_id, records=records))
        return full

    def seal(self, chord_ids: Sequence[str], now: float) -> None:
        """Never report the chords again."""
        for chord_id in chord_ids:
            chord = self._chords.get(chord_id)
            if chord is None:
                chord = self._chords[chord_id] = _Chord(0)
            chord.arrived.clear()
            chord.sealed_until = now + _SEALED_KEPT
            heappush(self._expiries, (chord.sealed_until, "chord", chord_id))

    def prune(self, before: float, limit: int) -> int:
        """Delete up to ``limit`` records that expired before then; returns how many."""
        pruned = 0
        while self._expiries and pruned < limit and self._expiries[0][0] < before:
            pruned += self._drop(*heappop(self._expiries))
        return pruned

    def _sweep(self, now: float) -> None:
        """So that a process that never prunes does not grow for ever."""
        for _ in range(_SWEPT_AT_ONCE):
            if not self._expiries or self._expiries[0][0] > now:
                return
            self._drop(*heappop(self._expiries))

    def _drop(self, expiry: float, kind: str, id_: str) -> bool:
        match kind:
            case "record":
                record = self._records.get(id_)
                if record is not None and record.expires_at == expiry:
                    del self._records[id_]
                    return True
            case "group":
                group = self._groups.get(id_)
                if group is not None and group.expires_at == expiry:
                    del self._groups[id_]
            case _:
                chord = self._chords.get(id_)
                if chord is not None and chord.sealed_until == expiry:
                    del self._chords[id_]
        return False

    def _live(self, id_: str, now: float) -> ResultRecord | None:
        record = self._records.get(id_)
        if record is None or (record.expires_at is not None and record.expires_at <= now):
            return None
        return record
