"""Following results as they change: one look for everyone who watches through a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from umbel.drivers.sqlite import results
from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.session import Session, Stamp
from umbel.exceptions import BackendClosed
from umbel.model import ResultRecord
from umbel.protocols import Clock

__all__ = ["Watch", "Watching"]

_LOOK_AGAIN = 60.0


class Watch(AsyncIterator[list[ResultRecord]]):
    """One who watches: the newest record of each task, until it is fetched."""

    def __init__(self) -> None:
        self._changes: dict[str, int] = {}
        self._gathered: dict[str, ResultRecord] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def add(self, found: Sequence[results.Change]) -> None:
        """What may be new."""
        for change, record in found:
            if change != self._changes.get(record.id):
                self._changes[record.id] = change
                self._gathered[record.id] = record
        if self._gathered:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """There will be nothing new."""
        self._error = error
        self._wake()

    async def __anext__(self) -> list[ResultRecord]:
        while not self._gathered:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        gathered, self._gathered = self._gathered, {}
        return list(gathered.values())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watching:
    """Everyone who watches through one backend, and the task that looks for them."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._watches_by_id: dict[str, set[Watch]] = {}
        self._follower: asyncio.Task[None] | None = None

    async def join(self, watch: Watch, ids: Sequence[str]) -> None:
        """Tell the watch what is there, and what changes from now on."""
        for id_ in ids:
            self._watches_by_id.setdefault(id_, set()).add(watch)
        now = self._clock.time()

        def look(session: Session) -> tuple[int, Stamp, list[results.Change]]:
            # The number first: what is written after it is found by following.
            stamp = self._connection.observe(session)
            last = results.last_change(session)
            return last, stamp, results.load(session, ids, now)

        last, stamp, found = await self._connection.run(look, writes=False)
        watch.add(found)
        if self._follower is None:
            # It serves all who watch, whoever comes and goes: no task group of theirs fits.
            self._follower = asyncio.get_running_loop().create_task(self._follow(last, stamp))
            self._follower.add_done_callback(self._ended)

    def leave(self, watch: Watch, ids: Sequence[str]) -> None:
        """Tell it nothing more."""
        for id_ in ids:
            watches = self._watches_by_id.get(id_)
            if watches is not None:
                watches.discard(watch)
                if not watches:
                    del self._watches_by_id[id_]
        if not self._watches_by_id:
            self._stop()

    def close(self) -> None:
        """Nobody hears anything any more."""
        self._fail(BackendClosed("the result backend was closed"))
        self._stop()

    def _stop(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()

    def _fail(self, error: BaseException) -> None:
        for watches in self._watches_by_id.values():
            for watch in watches:
                watch.fail(error)

    def _ended(self, follower: asyncio.Task[None]) -> None:
        if follower is self._follower:
            self._follower = None
        if not follower.cancelled():
            error = follower.exception()
            assert error is not None, "it follows for ever"
            self._fail(error)

    async def _follow(self, last: int, stamp: Stamp) -> None:
        while True:
            until = self._clock.monotonic() + _LOOK_AGAIN
            await self._connection.wait(stamp, until=until)
            last, stamp, found = await self._look(last)
            for change in found:
                for watch in self._watches_by_id.get(change[1].id, ()):
                    watch.add((change,))

    async def _look(self, last: int) -> tuple[int, Stamp, list[results.Change]]:
        now = self._clock.time()
        watched = self._watches_by_id

        def look(session: Session) -> tuple[int, Stamp, list[results.Change]]:
            stamp = self._connection.observe(session)
            # A number that is smaller than ours is another database's: the file was replaced.
            known = last if last <= results.last_change(session) else 0
            changed = results.changed_since(session, known)
            # The dictionary belongs to the loop; asking it for one key at a time is safe.
            ids = [id_ for _, id_ in changed if id_ in watched]
            newest = max((change for change, _ in changed), default=known)
            return newest, stamp, results.load(session, ids, now)

        return await self._connection.run(look, writes=False)
