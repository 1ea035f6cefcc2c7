"""A result backend in a file; the broker's, or its own."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from umbel.drivers.sqlite import chords, results
from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.watching import Watch, Watching
from umbel.exceptions import BackendUnavailable
from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord
from umbel.protocols import Clock

__all__ = ["SQLiteBackend"]


class SQLiteBackend:
    """Implements ``umbel.protocols.ResultBackend``.

    Args:
        path: The database; made when it is not there. Shared by everyone who opens it.
        synchronous: See :class:`umbel.drivers.sqlite.broker.SQLiteBroker`.
        patience: Seconds to wait for others who are writing.
    """

    counts_chords = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        patience: float = 10.0,
    ) -> None:
        self._clock = clock
        self._connection = Connection(
            path,
            clock=clock,
            error=BackendUnavailable,
            kind="results",
            synchronous=synchronous,
            patience=patience,
        )
        self._watching = Watching(self._connection, clock)

    @property
    def path(self) -> str:
        """The database."""
        return self._connection.path

    async def open(self) -> None:
        """Open the database; make it if there is none. Idempotent."""
        await self._connection.open()

    async def close(self) -> None:
        """Close the database. Idempotent."""
        self._watching.close()
        await self._connection.close()

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Keep the records, but for those that would lower a final state."""
        if records:
            now = self._clock.time()
            await self._connection.run(lambda session: results.store(session, records, now))

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """The records that exist; unknown ids are simply absent."""
        now = self._clock.time()
        found = await self._connection.run(
            lambda session: results.load(session, ids, now), writes=False
        )
        return {record.id: record for _, record in found}

    async def forget(self, ids: Sequence[str]) -> None:
        """Delete the records; unknown ids are ignored."""
        await self._connection.run(lambda session: results.forget(session, ids))

    @asynccontextmanager
    async def watch(self, ids: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those already there first, then each change."""
        watch = Watch()
        try:
            await self._watching.join(watch, ids)
            yield watch
        finally:
            self._watching.leave(watch, ids)

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Keep the groups."""
        await self._connection.run(lambda session: results.store_groups(session, groups))

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """The groups that exist; unknown ids are simply absent."""
        now = self._clock.time()
        return await self._connection.run(
            lambda session: results.load_groups(session, ids, now), writes=False
        )

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups; unknown ids are ignored."""
        await self._connection.run(lambda session: results.forget_groups(session, ids))

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say what chords there are, and how many members are to arrive at each."""
        now = self._clock.time()
        await self._connection.run(lambda session: chords.expect(session, expected, now))

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """More tasks are to arrive at each chord."""
        now = self._clock.time()
        await self._connection.run(lambda session: chords.enlarge(session, members, now))

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count chord members in, each index once; returns the chords that are full."""
        now = self._clock.time()
        return await self._connection.run(lambda session: chords.arrive(session, arrivals, now))

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """The chords' bodies are published: never report them again."""
        now = self._clock.time()
        await self._connection.run(lambda session: chords.seal(session, chord_ids, now))

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each publication is the one that runs."""
        now = self._clock.time()
        return await self._connection.run(lambda session: chords.claim(session, publications, now))

    async def prune(self, *, before: float, limit: int) -> int:
        """Delete up to ``limit`` records that expired before ``before`` (Unix seconds)."""
        return await self._connection.run(lambda session: results.prune(session, before, limit))
