"""Periodic tasks in memory: gone with the process."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.drivers.memory.store import MemoryStore
from umbel.model import Firing, Leadership, ScheduleRecord
from umbel.protocols import Clock

__all__ = ["MemorySchedules"]


class MemorySchedules:
    """Implements ``umbel.protocols.ScheduleStore`` beside the messages of one ``memory://``."""

    def __init__(self, store: MemoryStore, *, clock: Clock) -> None:
        self._kept = store.schedule
        self._mutex = store.mutex
        self._clock = clock

    async def open(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing: what is kept is the store's."""

    async def lead(self, owner: str, *, lease: float) -> Leadership:
        """Lead from now on for ``lease`` seconds, unless another does."""
        kept, now = self._kept, self._clock.monotonic()
        with self._mutex:
            if kept.leader == owner or kept.until <= now:
                kept.term += kept.leader != owner or kept.until <= 0
                kept.leader, kept.until = owner, now + lease
            return Leadership(leader=kept.leader, term=kept.term, version=kept.version)

    async def resign(self, owner: str) -> None:
        """Let others lead at once."""
        with self._mutex:
            if self._kept.leader == owner:
                self._kept.until = 0.0

    async def load(self, names: Sequence[str] | None = None) -> list[ScheduleRecord]:
        """What is scheduled."""
        with self._mutex:
            records = self._kept.records
            wanted = sorted(records) if names is None else names
            return [records[name] for name in wanted if name in records]

    async def put(self, records: Sequence[ScheduleRecord]) -> None:
        """Add entries, or replace what they say."""
        with self._mutex:
            kept = self._kept.records
            for record in records:
                known = kept.get(record.name)
                kept[record.name] = (
                    record if known is None else msgspec.structs.replace(known, entry=record.entry)
                )
            self._kept.version += 1

    async def remove(self, names: Sequence[str]) -> list[str]:
        """Delete entries."""
        with self._mutex:
            self._kept.version += 1
            return [name for name in names if self._kept.records.pop(name, None) is not None]

    async def pause(self, names: Sequence[str], *, paused: bool) -> list[str]:
        """Stop entries, or let them go on."""
        return self._replace(names, paused=paused)

    async def ask(self, names: Sequence[str]) -> list[str]:
        """Have entries run once, soon."""
        return self._replace(names, asked=True)

    async def fire(self, firings: Sequence[Firing], *, term: int) -> list[bool]:
        """Take the steps that can be taken."""
        with self._mutex:
            if term != self._kept.term:
                return [False] * len(firings)
            return [self._take(firing) for firing in firings]

    async def sent(self, names: Sequence[str], *, term: int) -> None:
        """The tasks of the last firings are on their way."""
        with self._mutex:
            if term == self._kept.term:
                self._set(names, unsent=False)

    def _replace(self, names: Sequence[str], **changes: object) -> list[str]:
        with self._mutex:
            self._kept.version += 1
            return self._set(names, **changes)

    def _set(self, names: Sequence[str], **changes: object) -> list[str]:
        records = self._kept.records
        found = [name for name in names if name in records]
        for name in found:
            records[name] = msgspec.structs.replace(records[name], **changes)
        return found

    def _take(self, firing: Firing) -> bool:
        record = self._kept.records.get(firing.name)
        asked = firing.until == firing.after
        if record is None or record.since != firing.after or (asked and not record.asked):
            return False
        if firing.task_id is None:
            record = msgspec.structs.replace(record, since=firing.until)
        else:
            record = msgspec.structs.replace(
                record,
                since=firing.until,
                asked=record.asked and not asked,
                count=record.count + 1,
                last_run=firing.at,
                task_id=firing.task_id,
                unsent=True,
            )
        self._kept.records[firing.name] = record
        return True
