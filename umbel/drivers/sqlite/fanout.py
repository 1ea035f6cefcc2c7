"""Traffic beside the tasks, through a table of the database that everybody reads.

Nothing is written while nobody listens, and what was written is gone a minute later.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import msgspec

from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.session import Session, Stamp
from umbel.exceptions import BrokerUnavailable
from umbel.model import Exchange, Message, Queue
from umbel.protocols import Clock
from umbel.routing.bindings import Bindings, Way, ways_into

__all__ = ["SQLiteFanout"]

_KEPT = 60.0
"""Seconds for which a broadcast can be read."""
_BELIEVED = 90.0
"""Seconds after which a listener that gives no sign of life is taken for dead."""
_SIGN_OF_LIFE = 30.0
_MOST_KEPT = 20_000
"""Messages kept for a listener that does not fetch them; the oldest go first."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class SQLiteFanout:
    """Implements ``umbel.protocols.Fanout``."""

    encloses = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        patience: float = 30.0,
    ) -> None:
        self._clock = clock
        self._connection = Connection(
            path,
            clock=clock,
            error=BrokerUnavailable,
            kind="broadcasts",
            synchronous=synchronous,
            patience=patience,
        )
        self._inboxes: set[_Inbox] = set()

    async def open(self) -> None:
        """Open the database; make it if there is none. Idempotent."""
        await self._connection.open()

    async def close(self) -> None:
        """Close it; whoever listens is told. Idempotent."""
        for inbox in self._inboxes:
            inbox.fail(BrokerUnavailable("the fan-out was closed"))
        await self._connection.close()

    async def broadcast(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        """Say something to whoever listens now; how many those are."""
        if not messages:
            return None
        listeners = await self._connection.run(
            lambda session: _listeners(session, exchange.name), writes=False
        )
        heard = [
            (message, count) for message in messages if (count := _count(listeners, message)) > 0
        ]
        if not heard:
            return 0
        encoded = [_encode(message) for message, _ in heard]

        def write(session: Session) -> None:
            now = session.uptime()
            rows = [(exchange.name, now + _KEPT, message) for message in encoded]
            session.executemany(session.sql["add_broadcast"], rows)
            session.execute(session.sql["prune_broadcasts"], (now, now + _KEPT))
            session.news.add("broadcasts")

        await self._connection.run(write)
        last, count = heard[-1]
        return count if last is messages[-1] else 0

    @asynccontextmanager
    async def listen(self, queues: Sequence[Queue]) -> AsyncGenerator[AsyncIterator[list[Message]]]:
        """Everything sent from the moment the context is entered, in batches."""
        ways = [way for queue in queues for way in ways_into(queue)]
        inbox = _Inbox(str(uuid.uuid4()), ways)
        last, stamp = await self._connection.run(lambda session: self._enter(session, inbox))
        # It looks for as long as the one who listens is there; a task group would raise in them
        # what they are told anyway.
        following = asyncio.get_running_loop().create_task(self._follow(inbox, last, stamp))
        self._inboxes.add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes.discard(inbox)
            following.cancel()
            await asyncio.wait([following])
            with suppress(BrokerUnavailable):
                await self._connection.run(lambda session: _leave(session, inbox.name))

    def _enter(self, session: Session, inbox: _Inbox) -> tuple[int, Stamp]:
        stamp = self._connection.observe(session)
        _leave(session, inbox.name)
        now = session.uptime()
        session.executemany(
            session.sql["add_ear"],
            [
                (inbox.name, way.exchange, way.type, way.routing_key, now + _BELIEVED)
                for way in inbox.ways
            ],
        )
        (last,) = session.execute(session.sql["last_broadcast"]).fetchone()
        return last, stamp

    async def _follow(self, inbox: _Inbox, last: int, stamp: Stamp) -> None:
        try:
            sign_at = self._clock.monotonic() + _SIGN_OF_LIFE
            while True:
                await self._connection.wait(stamp, until=sign_at)
                if self._clock.monotonic() >= sign_at:
                    await self._connection.run(lambda session: self._enter(session, inbox))
                    sign_at = self._clock.monotonic() + _SIGN_OF_LIFE
                last, stamp, rows = await self._look(last)
                inbox.add(rows)
        except BrokerUnavailable as error:
            inbox.fail(error)

    async def _look(self, last: int) -> tuple[int, Stamp, list[tuple[int, str, bytes]]]:
        def look(session: Session) -> tuple[int, Stamp, list[tuple[int, str, bytes]]]:
            stamp = self._connection.observe(session)
            (newest,) = session.execute(session.sql["last_broadcast"]).fetchone()
            known = last if last <= newest else 0
            rows: list[tuple[int, str, bytes]] = []
            while found := session.execute(session.sql["broadcasts"], (known,)).fetchall():
                rows += found
                known = found[-1][0]
            return known, stamp, rows

        return await self._connection.run(look, writes=False)


class _Inbox(AsyncIterator[list[Message]]):
    """What one listener has not fetched yet."""

    def __init__(self, name: str, ways: Sequence[Way]) -> None:
        self.name = name
        self.ways = ways
        self._bindings = Bindings(ways)
        self._arrived: deque[Message] = deque(maxlen=_MOST_KEPT)
        self._more = asyncio.Event()
        self._failure: Exception | None = None

    def add(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        """What was said; what does not concern the listener is left out."""
        for _, exchange, raw in rows:
            message = _decode(raw)
            if self._bindings.queues(exchange, message.routing_key):
                self._arrived.append(message)
        self._more.set()

    def fail(self, error: Exception) -> None:
        """There will be nothing new."""
        self._failure = error
        self._more.set()

    async def __anext__(self) -> list[Message]:
        while not self._arrived:
            if self._failure is not None:
                raise self._failure
            self._more.clear()
            await self._more.wait()
        arrived = list(self._arrived)
        self._arrived.clear()
        return arrived


def _leave(session: Session, listener: str) -> None:
    now = session.uptime()
    session.execute(session.sql["remove_ears"], (listener, now, now + _BELIEVED))


def _listeners(session: Session, exchange: str) -> list[Bindings]:
    """What each of those hears who listen to an exchange."""
    bindings: dict[str, Bindings] = {}
    # Outside of a transaction one may have begun to listen since we looked at the clock.
    now = session.uptime()
    believed = (exchange, now, now + 2 * _BELIEVED)
    for listener, name, kind, key in session.execute(session.sql["ears"], believed):
        bindings.setdefault(listener, Bindings()).add(Way(name, kind, key, listener))
    return list(bindings.values())


def _count(listeners: Sequence[Bindings], message: Message) -> int:
    return sum(
        bool(bindings.queues(message.exchange, message.routing_key)) for bindings in listeners
    )
