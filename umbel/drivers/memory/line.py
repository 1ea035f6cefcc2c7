"""One queue in memory: what is ready, what is not due yet, what is on loan."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf

from umbel.model import Message

__all__ = ["Entry", "Line"]

_LOWEST, _HIGHEST = 0, 255


class Entry:
    """A message in a queue, with what happens to it; belongs to its line."""

    __slots__ = (
        "begun",
        "deaths",
        "drop_at",
        "due",
        "leased_until",
        "message",
        "number",
        "rank",
        "redelivered",
        "started",
        "tag",
    )

    def __init__(self, message: Message, number: int, drop_at: float) -> None:
        self.message = message
        self.number = number
        # The first is the smallest: priority 9 before 0.
        self.rank = -min(max(message.priority or 0, _LOWEST), _HIGHEST)
        self.drop_at = drop_at
        # How often holders died; see Delivery.attempt.
        self.deaths = 0
        self.redelivered = False
        self.started = False
        self.begun = False
        # None: on loan to nobody.
        self.tag: str | None = None
        # When it comes into the queue, by the wall clock; -inf: it is ready; inf: never.
        self.due = -inf
        # When it comes back, unless that is put off, by the clock that nobody sets.
        self.leased_until = inf


class Line:
    """A queue's messages. Not thread-safe: the store's mutex is held by whoever calls."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Entry]] = []
        # Delayed ones by when they come, leased ones by when they come back. Entries that were
        # settled or put off since stay until they surface: they say something else themselves.
        self._delayed: list[tuple[float, int, Entry]] = []
        self._leased: list[tuple[float, int, Entry]] = []
        self._entries: dict[int, Entry] = {}
        self.expired = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, due: float, now: float) -> None:
        """A new message."""
        self._entries[entry.number] = entry
        self._place(entry, due, now)

    def take(self, now: float, monotonic: float) -> Entry | None:
        """The first message that is ready, if any; out of the queue until :meth:`lend`."""
        self._promote(now, monotonic)
        while self._ready:
            _, _, entry = heappop(self._ready)
            if entry.number not in self._entries or entry.due != -inf:
                continue
            if entry.drop_at <= now and not entry.begun:
                self.expired += 1
                del self._entries[entry.number]
                continue
            return entry
        return None

    def lend(self, entry: Entry, tag: str, until: float) -> None:
        """The message is someone's until then."""
        entry.tag = tag
        entry.due = inf
        self.extend(entry, until)

    def extend(self, entry: Entry, until: float) -> None:
        """It is theirs for longer."""
        entry.leased_until = until
        heappush(self._leased, (until, entry.number, entry))

    def give_back(self, entry: Entry, due: float, now: float, *, counts: bool, begun: bool) -> None:
        """Nobody's again, from ``due`` on for everyone."""
        entry.tag = None
        entry.leased_until = inf
        entry.begun = begun
        entry.started = False
        entry.redelivered = True
        entry.deaths += counts
        self._place(entry, due, now)

    def remove(self, entry: Entry) -> None:
        """It is gone for good."""
        del self._entries[entry.number]
        entry.due = entry.leased_until = inf

    def next_due(self) -> float:
        """When something that was delayed comes into the queue; inf when nothing does."""
        while self._delayed:
            due, _, entry = self._delayed[0]
            if entry.due == due and entry.number in self._entries:
                return due
            heappop(self._delayed)
        return inf

    def next_end(self) -> float:
        """When a lease ends; inf when none does."""
        while self._leased:
            until, _, entry = self._leased[0]
            if entry.leased_until == until and entry.number in self._entries:
                return until
            heappop(self._leased)
        return inf

    def purge(self) -> int:
        """Drop what nobody holds; returns how many."""
        dropped = [entry for entry in self._entries.values() if entry.tag is None]
        for entry in dropped:
            self.remove(entry)
        self._ready.clear()
        return len(dropped)

    def count(self, now: float, monotonic: float) -> tuple[int, int, int]:
        """How many are ready, on loan, delayed."""
        self._promote(now, monotonic)
        leased = sum(entry.tag is not None for entry in self._entries.values())
        ready = sum(entry.due == -inf for entry in self._entries.values())
        return ready, leased, len(self._entries) - leased - ready

    def _place(self, entry: Entry, due: float, now: float) -> None:
        if due > now:
            entry.due = due
            heappush(self._delayed, (due, entry.number, entry))
        else:
            self._make_ready(entry)

    def _promote(self, now: float, monotonic: float) -> None:
        while self.next_due() <= now:
            _, _, entry = heappop(self._delayed)
            self._make_ready(entry)
        while self.next_end() <= monotonic:
            _, _, entry = heappop(self._leased)
            entry.deaths += entry.started or not entry.deaths
            entry.redelivered = True
            entry.started = False
            entry.tag = None
            entry.leased_until = inf
            self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        entry.due = -inf
        heappush(self._ready, (entry.rank, entry.number, entry))
