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
        # When it comes (back) into the queue; -inf: it is ready; inf: never.
        self.due = -inf


class Line:
    """A queue's messages. Not thread-safe: the store's mutex is held by whoever calls."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Entry]] = []
        # Delayed and leased ones by when they come. Entries that were settled or put off since
        # stay until they surface; ``due`` then says something else.
        self._later: list[tuple[float, int, Entry]] = []
        self._entries: dict[int, Entry] = {}
        self.expired = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, due: float, now: float) -> None:
        """A new message."""
        self._entries[entry.number] = entry
        self._place(entry, due, now)

    def take(self, now: float) -> Entry | None:
        """The first message that is ready, if any; out of the queue until :meth:`lend`."""
        self._promote(now)
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
        entry.due = until
        heappush(self._later, (until, entry.number, entry))

    def extend(self, entry: Entry, until: float) -> None:
        """It is theirs for longer."""
        entry.due = until
        heappush(self._later, (until, entry.number, entry))

    def give_back(self, entry: Entry, due: float, now: float, *, counts: bool, begun: bool) -> None:
        """Nobody's again, from ``due`` on for everyone."""
        entry.tag = None
        entry.begun = begun
        entry.started = False
        entry.redelivered = True
        entry.deaths += counts
        self._place(entry, due, now)

    def remove(self, entry: Entry) -> None:
        """It is gone for good."""
        del self._entries[entry.number]
        entry.due = inf

    def next_due(self) -> float:
        """When something comes (back) into the queue; inf when nothing does."""
        while self._later:
            due, _, entry = self._later[0]
            if entry.due == due and entry.number in self._entries:
                return due
            heappop(self._later)
        return inf

    def purge(self) -> int:
        """Drop what nobody holds; returns how many."""
        dropped = [entry for entry in self._entries.values() if entry.tag is None]
        for entry in dropped:
            self.remove(entry)
        self._ready.clear()
        return len(dropped)

    def count(self, now: float) -> tuple[int, int, int]:
        """How many are ready, on loan, delayed."""
        self._promote(now)
        leased = sum(entry.tag is not None for entry in self._entries.values())
        ready = sum(entry.due == -inf for entry in self._entries.values())
        return ready, leased, len(self._entries) - leased - ready

    def _place(self, entry: Entry, due: float, now: float) -> None:
        if due > now:
            entry.due = due
            heappush(self._later, (due, entry.number, entry))
        else:
            entry.due = -inf
            heappush(self._ready, (entry.rank, entry.number, entry))

    def _promote(self, now: float) -> None:
        while self.next_due() <= now:
            _, _, entry = heappop(self._later)
            if entry.tag is not None:
                entry.deaths += entry.started or not entry.deaths
                entry.redelivered = True
                entry.started = False
            entry.tag = None
            entry.due = -inf
            heappush(self._ready, (entry.rank, entry.number, entry))
