"""Revocations in the database."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.session import Session
from umbel.model import Revocation

__all__ = ["SQLiteRevocations"]


class SQLiteRevocations:
    """Implements ``umbel.protocols.RevocationStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, revocations: Sequence[Revocation], *, keep: int) -> None:
        """Keep these too, ``keep`` in all, in one transaction."""
        if revocations:
            await self._connection.run(lambda session: _add(session, revocations, keep))

    async def since(self, mark: int) -> tuple[list[Revocation], int]:
        """What was added after a mark, the oldest first, and the next mark."""
        rows = await self._connection.run(lambda session: _since(session, mark), writes=False)
        found = [Revocation(id, header, value) for _, id, header, value in rows]
        return found, rows[-1][0] if rows else mark


def _add(session: Session, revocations: Sequence[Revocation], keep: int) -> None:
    rows = [(each.id, each.header, each.value) for each in revocations]
    session.executemany(session.sql["revoke"], rows)
    session.execute(session.sql["limit_revocations"], (keep,))


def _since(session: Session, mark: int) -> list[tuple[int, str, str, str]]:
    return session.execute(session.sql["revocations_since"], (mark,)).fetchall()
