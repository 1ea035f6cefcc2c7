"""Chords in memory. Not thread-safe: the store's mutex is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush

from umbel.model import Arrival, Expected, FullChord, ResultRecord

__all__ = ["Chords"]

_KEPT = 7 * 86_400.0
"""Seconds after the last arrival for which an unfinished chord is kept."""
_SEALED_KEPT = 86_400.0
"""Seconds for which a chord that is done is not counted anew; a repeat comes within the
life of a message."""
_SWEPT_AT_ONCE = 10


class _Chord:
    __slots__ = ("added", "arrived", "body", "forget_at", "sealed", "size")

    def __init__(self) -> None:
        # 0: nobody has said.
        self.size = 0
        # None: nobody has said that it is expected.
        self.body: bytes | None = None
        self.added: set[str] = set()
        self.arrived: dict[tuple[int, str], ResultRecord] = {}
        self.sealed = False
        self.forget_at = 0.0

    @property
    def is_full(self) -> bool:
        expected = self.size + len(self.added)
        return self.size > 0 and not self.sealed and len(self.arrived) >= expected


class Chords:
    """Who has arrived where, and which publication of a task runs."""

    def __init__(self) -> None:
        self._chord_by_id: dict[str, _Chord] = {}
        self._publication_by_task: dict[str, str] = {}
        # When something may be dropped, earliest first; what was put off since is put back.
        self._expiries: list[tuple[float, str, str]] = []

    def expect(self, expected: Iterable[Expected], now: float) -> None:
        """Note what chords there are, and their sizes."""
        for each in expected:
            chord = self._touched(each.chord_id, now)
            if not chord.sealed:
                chord.size = each.size or chord.size
                chord.body = chord.body if each.body is None else each.body

    def enlarge(self, members: Mapping[str, Sequence[str]], now: float) -> None:
        """Note more members of chords."""
        for chord_id, tasks in members.items():
            chord = self._touched(chord_id, now)
            if not chord.sealed:
                chord.added.update(tasks)

    def arrive(self, arrivals: Sequence[Arrival], now: float) -> list[FullChord]:
        """Count members in; returns the chords among them that are full, or lost, and not
        sealed."""
        lost: set[str] = set()
        for arrival in arrivals:
            id_ = arrival.chord_id
            known = self._chord_by_id.get(id_)
            if arrival.expected and (known is None or (known.body is None and not known.sealed)):
                lost.add(id_)
            if id_ in lost or (known is None and not arrival.body):
                continue
            chord = self._touched(id_, now)
            if not chord.sealed:
                chord.size = chord.size or arrival.size
                chord.arrived.setdefault((arrival.index, arrival.record.id), arrival.record)
        found: list[FullChord] = []
        for id_ in dict.fromkeys(arrival.chord_id for arrival in arrivals):
            chord_or_none = self._chord_by_id.get(id_)
            if id_ in lost:
                found.append(FullChord(id=id_, records=(), lost=True))
            elif chord_or_none is not None and chord_or_none.is_full:
                found.append(_handed_out(id_, chord_or_none))
        return found

    def seal(self, chord_ids: Iterable[str], now: float) -> None:
        """Never report the chords again."""
        for chord_id in chord_ids:
            chord = self._touched(chord_id, now)
            chord.sealed = True
            chord.arrived.clear()
            chord.added.clear()
            chord.forget_at = now + _SEALED_KEPT

    def claim(self, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
        """Whether each publication is the one that runs."""
        for task, publication in publications:
            if task not in self._publication_by_task:
                self._publication_by_task[task] = publication
                heappush(self._expiries, (now + _SEALED_KEPT, "claim", task))
        return [
            self._publication_by_task[task] == publication for task, publication in publications
        ]

    def sweep(self, now: float) -> None:
        """Drop some of what is not needed any more."""
        for _ in range(_SWEPT_AT_ONCE):
            if not self._expiries or self._expiries[0][0] > now:
                return
            _, kind, id_ = heappop(self._expiries)
            if kind == "claim":
                self._publication_by_task.pop(id_, None)
                continue
            chord = self._chord_by_id[id_]
            if chord.forget_at > now:
                heappush(self._expiries, (chord.forget_at, kind, id_))
            else:
                del self._chord_by_id[id_]

    def _touched(self, chord_id: str, now: float) -> _Chord:
        chord = self._chord_by_id.get(chord_id)
        if chord is None:
            chord = self._chord_by_id[chord_id] = _Chord()
            # Sealed or not, it is looked at again then.
            heappush(self._expiries, (now + _SEALED_KEPT, "chord", chord_id))
        if not chord.sealed:
            chord.forget_at = now + _KEPT
        return chord


def _handed_out(id_: str, chord: _Chord) -> FullChord:
    records = tuple(record for _, record in sorted(chord.arrived.items(), key=_place))
    return FullChord(id=id_, records=records, body=chord.body or b"")


def _place(entry: tuple[tuple[int, str], ResultRecord]) -> tuple[int, str]:
    return entry[0]
