"""Chords in the database: functions of a running transaction, called in its thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from umbel.drivers.sqlite.session import Session
from umbel.model import Arrival, FullChord, ResultRecord

__all__ = ["arrive", "claim", "enlarge", "expect", "prune", "seal"]

_KEPT = 7 * 86_400.0
"""Seconds after the last arrival for which an unfinished chord is kept."""
_SEALED_KEPT = 86_400.0
"""Seconds for which a chord that is done is not counted anew; a repeat comes within the
life of a message."""

_decode_record = msgspec.msgpack.Decoder(ResultRecord).decode


def expect(session: Session, sizes: Mapping[str, int], now: float) -> None:
    """Note the sizes of chords."""
    values = [(chord, size, now + _KEPT) for chord, size in sizes.items()]
    session.executemany(session.sql["expect_chord"], values)


def enlarge(session: Session, members: Mapping[str, Sequence[str]], now: float) -> None:
    """Note more members of chords."""
    for chord, tasks in members.items():
        session.execute(session.sql["begin_chord"], (chord, now + _KEPT))
        session.executemany(session.sql["add_to_chord"], [(chord, task) for task in tasks])


def arrive(session: Session, arrivals: Sequence[Arrival], now: float) -> list[FullChord]:
    """Count members in, each once; returns the chords among them that are full, not sealed."""
    sql, execute = session.sql, session.execute
    forget_at = now + _KEPT
    open_chords: dict[str, bool] = {}
    for arrival in arrivals:
        chord = arrival.chord_id
        if chord not in open_chords:
            execute(sql["begin_chord"], (chord, forget_at))
            open_chords[chord] = not execute(sql["chord"], (chord,)).fetchone()[3]
        if not open_chords[chord]:
            continue
        if arrival.size:
            execute(sql["say_size"], (arrival.size, chord))
        record = msgspec.msgpack.encode(arrival.record)
        values = (chord, arrival.index, arrival.record.id, record)
        if execute(sql["add_member"], values).rowcount:
            execute(sql["count_member"], (forget_at, chord))
    return [
        _handed_out(session, chord)
        for chord, is_open in open_chords.items()
        if is_open and _is_full(session, chord)
    ]


def _is_full(session: Session, chord: str) -> bool:
    size, arrived, added, sealed = session.execute(session.sql["chord"], (chord,)).fetchone()
    return bool(size and not sealed and arrived >= size + added)


def _handed_out(session: Session, chord: str) -> FullChord:
    members = session.execute(session.sql["members"], (chord,)).fetchall()
    records = tuple(_decode_record(record) for (record,) in members)
    return FullChord(id=chord, records=records)


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
