"""Chords in the database: functions of a running transaction, called in its thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from umbel.drivers.sqlite.session import Session
from umbel.model import Arrival, Expected, FullChord, ResultRecord

__all__ = ["arrive", "claim", "enlarge", "expect", "prune", "seal"]

_KEPT = 7 * 86_400.0
"""Seconds after the last arrival for which an unfinished chord is kept."""
_SEALED_KEPT = 86_400.0
"""Seconds for which a chord that is done is not counted anew; a repeat comes within the
life of a message."""

_decode_record = msgspec.msgpack.Decoder(ResultRecord).decode


def expect(session: Session, expected: Sequence[Expected], now: float) -> None:
    """Note what chords there are, and their sizes."""
    values = [(each.chord_id, each.size, each.body, now + _KEPT) for each in expected]
    session.executemany(session.sql["expect_chord"], values)


def enlarge(session: Session, members: Mapping[str, Sequence[str]], now: float) -> None:
    """Note more members of chords."""
    for chord, tasks in members.items():
        session.execute(session.sql["begin_chord"], (chord, now + _KEPT))
        session.executemany(session.sql["add_to_chord"], [(chord, task) for task in tasks])


class _Chord(msgspec.Struct, frozen=True):
    """What is known of a chord."""

    size: int
    arrived: int
    added: int
    sealed: int
    body: bytes | None

    @property
    def is_full(self) -> bool:
        expected = self.size + self.added
        return bool(self.size and not self.sealed and self.arrived >= expected)


def arrive(session: Session, arrivals: Sequence[Arrival], now: float) -> list[FullChord]:
    """Count members in, each once; returns the chords among them that are full, or lost, and not
    sealed."""
    sql, execute = session.sql, session.execute
    forget_at = now + _KEPT
    known_by_id: dict[str, _Chord | None] = {}
    lost: set[str] = set()
    for arrival in arrivals:
        id_ = arrival.chord_id
        if id_ not in known_by_id:
            known_by_id[id_] = _find(session, id_)
        known = known_by_id[id_]
        if known is not None and known.sealed:
            continue
        if arrival.expected and (known is None or known.body is None):
            lost.add(id_)
        if id_ in lost or (known is None and not arrival.body):
            continue
        if known is None:
            execute(sql["begin_chord"], (id_, forget_at))
            known_by_id[id_] = _Chord(0, 0, 0, 0, None)
        if arrival.size:
            execute(sql["say_size"], (arrival.size, id_))
        record = msgspec.msgpack.encode(arrival.record)
        values = (id_, arrival.index, arrival.record.id, record)
        if execute(sql["add_member"], values).rowcount:
            execute(sql["count_member"], (forget_at, id_))
    found: list[FullChord] = []
    for id_ in known_by_id:
        chord = None if id_ in lost else _find(session, id_)
        if id_ in lost:
            found.append(FullChord(id=id_, records=(), lost=True))
        elif chord is not None and chord.is_full:
            found.append(_handed_out(session, id_, chord))
    return found


def _find(session: Session, id_: str) -> _Chord | None:
    row = session.execute(session.sql["chord"], (id_,)).fetchone()
    return None if row is None else _Chord(*row)


def _handed_out(session: Session, id_: str, chord: _Chord) -> FullChord:
    members = session.execute(session.sql["members"], (id_,)).fetchall()
    records = tuple(_decode_record(record) for (record,) in members)
    return FullChord(id=id_, records=records, body=chord.body or b"")


def seal(session: Session, chord_ids: Sequence[str], now: float) -> None:
    """Never report the chords again."""
    for chord in chord_ids:
        session.execute(session.sql["seal_chord"], (chord, now + _SEALED_KEPT))
        session.execute(session.sql["remove_members"], (chord,))
        session.execute(session.sql["remove_added"], (chord,))
    if chord_ids:
        # What is over makes room, at twice the pace at which chords end.
        prune(session, now, 2 * len(chord_ids))


def claim(session: Session, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
    """Whether each publication is the one that runs."""
    values = [(task, publication, now + _SEALED_KEPT) for task, publication in publications]
    session.executemany(session.sql["claim"], values)
    find = session.sql["claimed"]
    return [
        session.execute(find, (task,)).fetchone()[0] == publication
        for task, publication in publications
    ]


def prune(session: Session, before: float, limit: int) -> None:
    """Delete what is not needed since then, up to ``limit`` of each kind."""
    for query in ("prune_members", "prune_added", "prune_chords", "prune_claims"):
        session.execute(session.sql[query], (before, limit))
