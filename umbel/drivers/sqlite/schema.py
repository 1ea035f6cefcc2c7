"""Making the tables, and bringing those of an older release up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from umbel.drivers.sqlite.errors import Unusable
from umbel.drivers.sqlite.queries import queries, schema

__all__ = ["VERSION", "prepare"]

VERSION = 4
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
    if connection.execute(sql["has_chords"]).fetchone() is not None:
        connection.execute(sql["add_chord_body"])


MIGRATIONS: Mapping[int, Migration] = {1: _from_1, 2: _from_2, 3: _from_3}
"""From which version → what changes the tables it has into those of the next one, inside the
transaction of :func:`prepare`; new tables and indexes are made for all of them."""


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables if they are missing; bring older ones up to date. In a transaction.

    Raises:
        Unusable: A newer release made the tables.
    """
    sql = queries()
    if connection.execute(sql["has_schema"]).fetchone() is None:
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


def _complete(connection: sqlite3.Connection) -> None:
    for statement in schema():
        connection.execute(statement)
    connection.execute(queries()["set_version"], (VERSION,))
