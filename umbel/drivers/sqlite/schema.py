"""Making the tables, and bringing those of an older release up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from umbel.drivers.sqlite.errors import Unusable
from umbel.drivers.sqlite.queries import queries, schema

__all__ = ["VERSION", "prepare"]

VERSION = 2
"""What ``schema.sql`` makes."""

Migration = Callable[[sqlite3.Connection], None]


def _from_1(connection: sqlite3.Connection) -> None:
    """Messages remember whether they were begun, and whether they were handed out before."""
    sql = queries()
    connection.execute(sql["add_begun"])
    connection.execute(sql["add_redelivered"])


MIGRATIONS: Mapping[int, Migration] = {1: _from_1}
"""From which version → what makes it the next one, inside the transaction of :func:`prepare`."""


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables if they are missing; bring older ones up to date. In a transaction.

    Raises:
        Unusable: A newer release made the tables.
    """
    sql = queries()
    if connection.execute(sql["has_schema"]).fetchone() is None:
        for statement in schema():
            connection.execute(statement)
        connection.execute(sql["set_version"], (VERSION,))
        return
    row = connection.execute(sql["get_version"]).fetchone()
    version = int(row[0]) if row is not None else 0
    if version > VERSION:
        raise Unusable(
            f"cannot use the database {path!r}: it has schema {version}, this release knows up "
            f"to {VERSION}. Update umbel, or use another file."
        )
    while version < VERSION:
        migrate = MIGRATIONS.get(version)
        if migrate is None:
            raise Unusable(
                f"cannot use the database {path!r}: no way leads from its schema {version} to "
                f"{VERSION}. Move the file away to begin anew."
            )
        migrate(connection)
        version += 1
        connection.execute(sql["set_version"], (version,))
