"""Dead letters in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.messages import understood
from umbel.drivers.sqlite.session import Session
from umbel.model import DeadLetter

__all__ = ["SQLiteDeadLetters"]


class SQLiteDeadLetters:
    """Implements ``umbel.protocols.DeadLetterStore``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def count(self) -> int:
        """How many there are."""
        return await self._connection.run(_count, writes=False)

    async def latest(self, *, limit: int, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first."""
        return await self._connection.run(lambda s: _list(s, limit, skip), writes=False)

    async def load(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these that exist."""
        return await self._connection.run(lambda s: _load(s, ids), writes=False)

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many there were."""
        return await self._connection.run(lambda s: _drop(s, ids))


def _count(session: Session) -> int:
    count: int = session.execute(session.sql["count_dead"]).fetchone()[0]
    return count


def _list(session: Session, limit: int, skip: int) -> list[DeadLetter]:
    return [_letter(row) for row in session.execute(session.sql["list_dead"], (limit, skip))]


def _load(session: Session, ids: Sequence[str]) -> list[DeadLetter]:
    sql = session.sql["load_dead"]
    rows = [session.execute(sql, (id,)).fetchone() for id in ids if id.isdigit()]
    return [_letter(row) for row in rows if row is not None]


def _drop(session: Session, ids: Sequence[str]) -> int:
    sql = session.sql["drop_dead"]
    return sum(session.execute(sql, (id,)).rowcount for id in set(ids) if id.isdigit())


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    id, queue, attempt, dropped_at, reason, kept = row
    return DeadLetter(
        id=str(id),
        queue=queue,
        message=understood(kept),
        attempt=attempt,
        reason=reason or "",
        dropped_at=dropped_at,
    )
