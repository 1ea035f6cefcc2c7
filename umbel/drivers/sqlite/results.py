"""Results in the database: functions of a running transaction, called in its thread."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.drivers.sqlite import chords
from umbel.drivers.sqlite.session import Session
from umbel.model import GroupRecord, ResultRecord
from umbel.states import finality

__all__ = [
    "Change",
    "changed_since",
    "forget",
    "forget_groups",
    "last_change",
    "load",
    "load_groups",
    "prune",
    "store",
    "store_groups",
]

Change = tuple[int, ResultRecord]
"""A record, and the number of the change that made it so."""


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


def prune(session: Session, before: float, limit: int) -> int:
    """Delete up to ``limit`` records that expired before then, and as many groups and chords."""
    sql = session.sql
    session.execute(sql["prune_groups"], (before, limit))
    chords.prune(session, before, limit)
    pruned: int = session.execute(sql["prune_results"], (before, limit)).rowcount
    return pruned
