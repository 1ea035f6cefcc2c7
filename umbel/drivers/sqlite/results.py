"""Results in the database: functions of a running transaction, called in its thread."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.drivers.sqlite.session import Session
from umbel.model import Arrival, FullChord, GroupRecord, ResultRecord
from umbel.states import finality

__all__ = [
    "Change",
    "arrive",
    "changed_since",
    "forget",
    "forget_groups",
    "last_change",
    "load",
    "load_groups",
    "prune",
    "seal",
    "store",
    "store_groups",
]

Change = tuple[int, ResultRecord]
"""A record, and the number of the change that made it so."""

_CHORD_KEPT = 7 * 86_400.0
"""Seconds after its last arrival for which an unfinished chord is kept."""
_SEALED_KEPT = 86_400.0
"""Seconds for which a chord that is done is not counted anew."""

_decode_record = msgspec.msgpack.Decoder(ResultRecord).decode


def last_change(session: Session) -> int:
    """The number of the last change."""
    row = session.execute(session.sql["last_change"]).fetchone()
    return 0 if row is None else row[0]


def store(session: Session, records: Sequence[ResultRecord], now: float) -> None:
    """Keep the records, but for those that would lower a final state.

    What has expired makes room, at twice the pace at which records come.
    """
    change = last_change(session)
    values: list[tuple[object, ...]] = []
    for record in records:
        change += 1
        values.append(
            (
                change,
                record.id,
                record.state,
                finality(record.state),
                record.expires_at,
                record.reply_to,
                record.correlation_id,
                record.body,
                now,
            )
        )
    session.executemany(session.sql["store"], values)
    session.execute(session.sql["set_last_change"], (change,))
    session.execute(session.sql["prune_results"], (now, 2 * len(records)))
    session.news.add("results")


def load(session: Session, ids: Sequence[str], now: float) -> list[Change]:
    """The records that exist."""
    found: list[Change] = []
    execute, sql = session.execute, session.sql["load"]
    for id_ in ids:
        row = execute(sql, (id_, now)).fetchone()
        if row is not None:
            change, name, state, expires_at, reply_to, correlation_id, body = row
            found.append(
                (
                    change,
                    ResultRecord(
                        id=name,
                        state=state,
                        body=body,
                        expires_at=expires_at,
                        reply_to=reply_to,
                        correlation_id=correlation_id,
                    ),
                )
            )
    return found


def changed_since(session: Session, change: int) -> list[tuple[int, str]]:
    """Which records have been written since: numbers and ids."""
    return session.execute(session.sql["changed_since"], (change,)).fetchall()


def forget(session: Session, ids: Sequence[str]) -> None:
    """Delete the records."""
    session.executemany(session.sql["forget"], [(id_,) for id_ in ids])


def store_groups(session: Session, groups: Sequence[GroupRecord]) -> None:
    """Keep the groups."""
    values = [(group.id, group.expires_at, group.body) for group in groups]
    session.executemany(session.sql["store_group"], values)


def load_groups(session: Session, ids: Sequence[str], now: float) -> dict[str, GroupRecord]:
    """The groups that exist."""
    found: dict[str, GroupRecord] = {}
    for id_ in ids:
        row = session.execute(session.sql["load_group"], (id_, now)).fetchone()
        if row is not None:
            found[id_] = GroupRecord(id=id_, body=row[0], expires_at=row[1])
    return found


def forget_groups(session: Session, ids: Sequence[str]) -> None:
    """Delete the groups."""
    session.executemany(session.sql["forget_group"], [(id_,) for id_ in ids])


def arrive(session: Session, arrivals: Sequence[Arrival], now: float) -> list[FullChord]:
    """Count members in, each once; returns the chords among them that are full, not sealed."""
    sql = session.sql
    forget_at = now + _CHORD_KEPT
    touched: dict[str, None] = {}
    for arrival in arrivals:
        chord = arrival.chord_id
        if chord not in touched:
            session.execute(sql["begin_chord"], (chord, arrival.size, forget_at))
            touched[chord] = None
        if session.execute(sql["chord"], (chord,)).fetchone()[2]:
            continue
        record = msgspec.msgpack.encode(arrival.record)
        added = session.execute(sql["add_member"], (chord, arrival.index, record))
        if added.rowcount:
            session.execute(sql["count_member"], (forget_at, chord))
    full: list[FullChord] = []
    for chord in touched:
        size, arrived, sealed = session.execute(sql["chord"], (chord,)).fetchone()
        if not sealed and arrived >= size:
            members = session.execute(sql["members"], (chord,)).fetchall()
            records = tuple(_decode_record(record) for (record,) in members)
            full.append(FullChord(id=chord, records=records))
    return full


def seal(session: Session, chord_ids: Sequence[str], now: float) -> None:
    """Never report the chords again."""
    for chord in chord_ids:
        session.execute(session.sql["seal_chord"], (chord, now + _SEALED_KEPT))
        session.execute(session.sql["remove_members"], (chord,))


def prune(session: Session, before: float, limit: int) -> int:
    """Delete up to ``limit`` records that expired before then, and as many groups and chords."""
    sql = session.sql
    session.execute(sql["prune_groups"], (before, limit))
    session.execute(sql["prune_members"], (before, limit))
    session.execute(sql["prune_chords"], (before, limit))
    pruned: int = session.execute(sql["prune_results"], (before, limit)).rowcount
    return pruned
