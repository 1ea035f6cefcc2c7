"""What workers said of messages that may kill, summed up: pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

__all__ = ["Entry", "Start", "Tally", "outdated"]

_MOST_STARTS = 100_000
"""Kept at most; the oldest go first."""

Start: TypeAlias = tuple[str, int]
"""One start of one message: the client that said it, and the number that it gave it."""


_NONE: Mapping[Start, int] = {}


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What one client says at once."""

    client: str
    """Its name, which nobody else has."""
    started: Sequence[tuple[int, str, int]] = ()
    """The number of each start, the key of the message, and how many deaths are to be counted if
    nobody says that it has ended."""
    ended: Sequence[Start] = ()
    """Starts, of whomever, that do not count: their client lives, and holds the message no longer;
    or the message is settled for good, or published anew, and says itself how many there were."""

    def starts(self) -> Iterable[tuple[Start, str, int]]:
        """Each start, the key of its message, and the deaths."""
        return (((self.client, number), key, deaths) for number, key, deaths in self.started)


class Tally:
    """The starts of which nobody has said how they ended: their client is at it, or has died.

    >>> tally = Tally()
    >>> tally.add(Entry("one", started=[(1, "a", 1), (2, "b", 1)]))
    >>> tally.add(Entry("two", started=[(1, "a", 2)]))
    >>> tally.add(Entry("one", ended=[("one", 2)]))
    >>> tally.deaths("a"), tally.deaths("b")
    (3, 0)
    >>> tally.add(Entry("two", ended=tally.starts("a")))
    >>> tally.deaths("a")
    0
    """

    def __init__(self) -> None:
        self._key_by_start: dict[Start, str] = {}
        self._deaths_by_key: dict[str, dict[Start, int]] = {}

    def __len__(self) -> int:
        return len(self._key_by_start)

    def __contains__(self, start: Start) -> bool:
        return start in self._key_by_start

    def deaths(self, key: str) -> int:
        """How often the holders of a message have died."""
        return sum(self._deaths_by_key.get(key, _NONE).values())

    def starts(self, key: str) -> list[Start]:
        """Those of a message."""
        return list(self._deaths_by_key.get(key, ()))

    def add(self, entry: Entry) -> None:
        """Take note of what was said; twice is once."""
        for start, key, deaths in entry.starts():
            self._key_by_start[start] = key
            self._deaths_by_key.setdefault(key, {})[start] = deaths
        for start in entry.ended:
            self._drop(start)
        while len(self._key_by_start) > _MOST_STARTS:
            self._drop(next(iter(self._key_by_start)))

    def _drop(self, start: Start) -> None:
        key = self._key_by_start.pop(start, None)
        if key is not None:
            starts = self._deaths_by_key[key]
            del starts[start]
            if not starts:
                del self._deaths_by_key[key]


def outdated(entries: Sequence[Entry], tally: Tally) -> list[int]:
    """The places of the entries without which the rest sums up to the same, in the order in which
    they can be dropped: an end never before its start.

    Args:
        entries: In the order in which they were said.
        tally: What they sum up to.

    >>> said = [Entry("one", started=[(1, "a", 1)]), Entry("one", started=[(2, "b", 1)])]
    >>> said += [Entry("two", ended=[("one", 1)]), Entry("two", ended=[("one", 9)])]
    >>> tally = Tally()
    >>> for each in said:
    ...     tally.add(each)
    >>> outdated(said, tally)
    [0, 2, 3]
    """
    kept: set[int] = set()
    ended: set[Start] = set()
    for place, entry in enumerate(entries):
        starts = [start for start, _, _ in entry.starts()]
        if any(start in tally for start in starts):
            kept.add(place)
            # What says that the others of this entry have ended must be kept as well.
            ended.update(start for start in starts if start not in tally)
    kept.update(place for place, entry in enumerate(entries) if not ended.isdisjoint(entry.ended))
    dropped = [place for place in range(len(entries)) if place not in kept]
    return sorted(dropped, key=lambda place: not entries[place].started)
