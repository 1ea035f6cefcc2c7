"""Periodic tasks in the database: the broker's, or a file of their own."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from umbel.drivers.sqlite import messages
from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.errors import is_damaged
from umbel.drivers.sqlite.files import set_aside
from umbel.drivers.sqlite.session import Session
from umbel.exceptions import BrokerUnavailable, EncodeError
from umbel.model import Firing, Leadership, Message, ScheduleRecord
from umbel.protocols import Clock

__all__ = ["SQLiteScheduleFile", "SQLiteSchedules"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Schedules:
    """What both have in common; implements most of ``umbel.protocols.ScheduleStore``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def open(self) -> None:
        """Open the database. Idempotent."""
        await self._connection.open()

    async def lead(self, owner: str, *, lease: float) -> Leadership:
        """Lead from now on for ``lease`` seconds, unless another does."""
        return await self._connection.run(lambda session: _lead(session, owner, lease))

    async def resign(self, owner: str) -> None:
        """Let others lead at once."""
        await self._connection.run(lambda s: s.execute(s.sql["resign"], (owner,)).rowcount)

    async def load(self, names: Sequence[str] | None = None) -> list[ScheduleRecord]:
        """What is scheduled."""
        return await self._connection.run(lambda session: _load(session, names), writes=False)

    async def put(self, records: Sequence[ScheduleRecord]) -> None:
        """Add entries, or replace what they say."""
        rows = [(each.name, each.entry, each.since, each.paused) for each in records]
        await self._changing(lambda s: s.executemany(s.sql["put_schedule"], rows).rowcount)

    async def remove(self, names: Sequence[str]) -> list[str]:
        """Delete entries."""
        return await self._changing(lambda s: _each(s, "remove_schedule", names))

    async def pause(self, names: Sequence[str], *, paused: bool) -> list[str]:
        """Stop entries, or let them go on."""
        return await self._changing(lambda s: _each(s, "pause_schedule", names, paused))

    async def ask(self, names: Sequence[str]) -> list[str]:
        """Have entries run once, soon."""
        return await self._changing(lambda s: _each(s, "ask_schedule", names))

    async def fire(self, firings: Sequence[Firing], *, term: int) -> list[bool]:
        """Take the steps that can be taken."""
        return await self._connection.run(lambda s: _take(s, firings, term, unsent=True))

    async def sent(self, names: Sequence[str], *, term: int) -> None:
        """The tasks of the last firings are on their way."""
        await self._connection.run(lambda s: _sent(s, names, term))

    async def _changing(self, work: Callable[[Session], T]) -> T:
        def changing(session: Session) -> T:
            _leader(session)
            session.execute(session.sql["schedule_changed"])
            return work(session)

        return await self._connection.run(changing)


class SQLiteScheduleFile(_Schedules):
    """Implements ``umbel.protocols.ScheduleStore`` on a file of its own.

    A damaged file is put aside, and a new one begun: what a schedule needs most is to go on, and
    the entries of the configuration are not lost with it.

    Args:
        path: The database; made when it is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        patience: float = 10.0,
    ) -> None:
        connection = Connection(
            path,
            clock=clock,
            error=BrokerUnavailable,
            kind="messages",
            synchronous=synchronous,
            patience=patience,
        )
        super().__init__(connection, clock)

    async def open(self) -> None:
        """Open the file, unless it is damaged: then begin a new one. Idempotent."""
        if self._connection.opened:
            return
        try:
            await super().open()
            await self._connection.run(_check, writes=False)
        except BrokerUnavailable as error:
            if not is_damaged(error.__cause__):
                raise
            await self._connection.close()
            aside = set_aside(self._connection.path, self._clock.now())
            logger.error(  # noqa: TRY400 - the sentence says it
                "The schedule file %s is damaged (%s). It is now %s, and a new one has been begun: "
                "entries of the configuration start anew, others are lost.",
                *(self._connection.path, error.__cause__, aside),
            )
            await super().open()

    async def close(self) -> None:
        """Close the database. Idempotent."""
        await self._connection.close()


class SQLiteSchedules(_Schedules):
    """Implements ``umbel.protocols.PublishingScheduleStore`` in the broker's database."""

    async def close(self) -> None:
        """Nothing: the connection is the broker's."""

    async def fire_and_publish(
        self, firings: Sequence[Firing], messages_: Sequence[Message], *, term: int
    ) -> list[bool]:
        """Take the steps and publish the messages of those that were taken, in one transaction."""
        now = self._clock.time()
        taken, refused = await self._connection.run(
            lambda session: _take_and_publish(session, firings, messages_, term, now)
        )
        for message, reason in refused:
            logger.error("The periodic task %r is lost: %s", message.id, reason)
        return taken


def _check(session: Session) -> None:
    """Read all of it; a file may be damaged where nobody has looked yet."""
    for (said,) in session.execute("PRAGMA quick_check"):
        if said != "ok":
            error = sqlite3.DatabaseError(said)
            error.sqlite_errorname = "SQLITE_CORRUPT"
            raise error


def _leader(session: Session) -> tuple[str, int, float, float, int]:
    session.execute(session.sql["add_leader"])
    row: tuple[str, int, float, float, int] = session.execute(session.sql["leader"]).fetchone()
    return row


def _lead(session: Session, owner: str, lease: float) -> Leadership:
    leader, term, since, until, version = _leader(session)
    now = session.uptime()
    # One that leads since later than now did so before the machine was started.
    if leader == owner or not since <= now < until:
        term += leader != owner or until <= 0
        leader = owner
        session.execute(session.sql["lead"], (owner, term, now, now + lease))
    return Leadership(leader=leader, term=term, version=version)


def _load(session: Session, names: Sequence[str] | None) -> list[ScheduleRecord]:
    rows: list[tuple[Any, ...]] = []
    if names is None:
        rows = session.execute(session.sql["schedule"]).fetchall()
    else:
        for name in names:
            rows += session.execute(session.sql["schedule_entry"], (name,)).fetchall()
    return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> ScheduleRecord:
    name, entry, since, paused, asked, count, last_run, task_id, unsent = row
    return ScheduleRecord(
        name=name,
        entry=entry,
        since=since,
        paused=bool(paused),
        asked=bool(asked),
        count=count,
        last_run=last_run,
        task_id=task_id,
        unsent=bool(unsent),
    )


def _each(session: Session, statement: str, names: Sequence[str], *values: object) -> list[str]:
    sql = session.sql[statement]
    return [name for name in names if session.execute(sql, (*values, name)).rowcount]


def _take(session: Session, firings: Sequence[Firing], term: int, *, unsent: bool) -> list[bool]:
    if _leader(session)[1] != term:
        return [False] * len(firings)
    return [_step(session, firing, unsent) for firing in firings]


def _step(session: Session, firing: Firing, unsent: bool) -> bool:
    sql, name = session.sql, firing.name
    if firing.task_id is None:
        values: tuple[object, ...] = (firing.until, name, firing.after)
        return session.execute(sql["take_step"], values).rowcount == 1
    if firing.until == firing.after:
        values = (firing.at, firing.task_id, unsent, name, firing.after)
        return session.execute(sql["take_asked_step"], values).rowcount == 1
    values = (firing.until, firing.at, firing.task_id, unsent, name, firing.after)
    return session.execute(sql["take_step_with_task"], values).rowcount == 1


def _sent(session: Session, names: Sequence[str], term: int) -> None:
    if _leader(session)[1] == term:
        session.executemany(session.sql["schedule_sent"], [(name,) for name in names])


def _take_and_publish(
    session: Session,
    firings: Sequence[Firing],
    messages_: Sequence[Message],
    term: int,
    now: float,
) -> tuple[list[bool], list[tuple[Message, Exception]]]:
    taken = _take(session, firings, term, unsent=False)
    refused: list[tuple[Message, Exception]] = []
    rows: list[messages.Row] = []
    for message, ok in zip(messages_, taken, strict=True):
        if not ok:
            continue
        try:
            rows.append(messages.prepare(message))
        except EncodeError as error:
            refused.append((message, error))
    errors = messages.publish(session, rows, now)
    return taken, refused + [(rows[index][0], error) for index, error in errors.items()]
