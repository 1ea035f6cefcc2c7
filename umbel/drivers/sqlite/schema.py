"""Making the tables, and bringing those of an older release up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from umbel.drivers.sqlite.errors import Unusable
from umbel.drivers.sqlite.queries import queries, schema

__all__ = ["VERSION", "prepare"]

VERSION = 5
"""What ``schema.sql`` makes."""

Migration = Callable[[sqlite3.Connection], None]


def _from_1(connection: sqlite3.Connection) -> None:
    """Messages remember whether they were begun, and whether they were handed out before. Chords
    were there and not used."""
    sql = queries()
    connection.execute(sql["add_begun"])
    connection.execute(sql["add_redelivered"])
    connection.execute(sql["drop_chord_members"])
    connection.execute(sql["drop_chords"])


def _from_2(_connection: sqlite3.Connection) -> None:
    """More tables: whatever is missing is made in the end."""


def _from_3(connection: sqlite3.Connection) -> None:
    """Chords remember what to run."""
    sql = queries()
    if _has(connection, "umbel_chords"):
        connection.execute(sql["add_chord_body"])


def _from_4(connection: sqlite3.Connection) -> None:
    """Leases go by a clock that nobody sets. Those that run go on by the other one: who has them
    may be a worker of the older release, which goes on to extend them."""
    sql = queries()
    connection.execute(sql["add_leased_at"])
    connection.execute(sql["add_leased_until"])
    connection.execute(sql["drop_later"])
    if _has(connection, "umbel_schedule_leader"):
        leader = connection.execute(sql["last_leader"]).fetchone()
        connection.execute(sql["drop_leader"])
        _make(connection)
        if leader is not None:
            # Nobody leads, and the next one has a later term.
            connection.execute(sql["keep_leader"], leader)


MIGRATIONS: Mapping[int, Migration] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4}
"""From which version → what changes the tables it has into those of the next one, inside the
transaction of :func:`prepare`; new tables and indexes are made for all of them."""


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables if they are missing; bring older ones up to date. In a transaction.

    Raises:
        Unusable: A newer release made the tables.
    """
    sql = queries()
    if not _has(connection, "umbel_meta"):
        _complete(connection)
        return
    row = connection.execute(sql["get_version"]).fetchone()
    version = int(row[0]) if row is not None else 0
    if version > VERSION:
        raise Unusable(
            f"cannot use the database {path!r}: it has schema {version}, this release knows up "
            f"to {VERSION}. Update umbel, or use another file."
        )
    if version == VERSION:
        return
    while version < VERSION:
        migrate = MIGRATIONS.get(version)
        if migrate is None:
            raise Unusable(
                f"cannot use the database {path!r}: no way leads from its schema {version} to "
                f"{VERSION}. Move the file away to begin anew."
            )
        migrate(connection)
        version += 1
    _complete(connection)


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(queries()["has_table"], (table,)).fetchone() is not None


def _make(connection: sqlite3.Connection) -> None:
    for statement in schema():
        connection.execute(statement)


def _complete(connection: sqlite3.Connection) -> None:
    _make(connection)
    connection.execute(queries()["set_version"], (VERSION,))
