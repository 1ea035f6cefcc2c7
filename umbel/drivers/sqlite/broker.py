"""A broker in a file: no server, safe between processes, nothing lost when they are killed."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

from umbel.drivers.sqlite import chords, messages, results
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.connection import Connection
from umbel.drivers.sqlite.dead_letters import SQLiteDeadLetters
from umbel.drivers.sqlite.revocations import SQLiteRevocations
from umbel.drivers.sqlite.schedules import SQLiteSchedules
from umbel.drivers.sqlite.session import Session, Stamp
from umbel.exceptions import BatchError, BrokerUnavailable, EncodeError
from umbel.model import (
    Ack,
    Arrival,
    Delivery,
    Message,
    Queue,
    QueueStats,
    Retention,
    Settlement,
    arrival_by_chord,
)
from umbel.protocols import Capabilities, Clock, Compose, ResultBackend

__all__ = ["SQLiteBroker"]

logger = logging.getLogger(__name__)

_KEEP_DEAD = Retention()

_LONGEST_PAUSE = 3600.0
_TAKES = 1 << 26
"""How many takes of one client have tokens of their own: with seq a token is unique all the same,
unless a message comes to the same client again after exactly so many takes."""


class SQLiteBroker:
    """Implements ``umbel.protocols.Broker`` and ``Transactional``.

    Args:
        path: The database; made when it is not there. Shared by everyone who opens it.
        lease: Seconds a delivery is ours unless extended.
        keep_dead: Which dead letters are kept.
        synchronous: ``NORMAL`` loses nothing when programs are killed, and at a power cut
            perhaps the last moments; ``FULL`` loses nothing then either, and takes longer.
        patience: Seconds to wait for others who are writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        lease: float = 20.0,
        keep_dead: Retention = _KEEP_DEAD,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        patience: float = 10.0,
    ) -> None:
        self._clock = clock
        self._lease = lease
        self._connection = Connection(
            path,
            clock=clock,
            error=BrokerUnavailable,
            kind="messages",
            synchronous=synchronous,
            patience=patience,
        )
        self._keep_dead = keep_dead
        self.dead_letters = SQLiteDeadLetters(self._connection)
        self.revocations = SQLiteRevocations(self._connection)
        self.schedules = SQLiteSchedules(self._connection, clock)
        self._held: dict[str, None] = {}
        self._first_token = secrets.randbits(36) * _TAKES
        self._takes = 0
        self._pid = os.getpid()

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return Capabilities(
            lease=self._lease, delay=True, priority="high-first", ordered=True, wakeup=True
        )

    @property
    def holder(self) -> str:
        """The first of the tokens that this client's leases have."""
        return str(self._first_token)

    async def open(self) -> None:
        """Open the database; make it if there is none. Idempotent."""
        await self._connection.open()

    async def close(self) -> None:
        """Give back every unsettled delivery, then close the database. Idempotent."""
        if not self._connection.opened:
            return
        try:
            # What is under way may lease something, and give it back because nobody waits.
            await self._connection.run(_nothing, writes=False)
            held = self._take_held()
            if held:
                await self._connection.run(lambda session: _leave(session, held))
        except BrokerUnavailable as error:
            logger.warning("Messages in hand come back when their lease runs out: %s", error)
        finally:
            await self._connection.close()

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues and their bindings exist. Idempotent."""
        await self._connection.run(lambda session: messages.declare(session, queues))

    async def publish(self, messages_: Sequence[Message]) -> None:
        """Accept the messages in one transaction; what cannot be kept is refused."""
        errors: dict[int, Exception] = {}
        rows: list[messages.Row] = []
        places: list[int] = []
        for place, message in enumerate(messages_):
            try:
                rows.append(messages.prepare(message))
            except EncodeError as error:
                errors[place] = error
            else:
                places.append(place)
        now = self._clock.time()
        refused = await self._connection.run(lambda session: messages.publish(session, rows, now))
        if refused or errors:
            errors.update({places[index]: error for index, error in refused.items()})
            first = next(iter(errors.values()))
            raise BatchError(
                f"{len(errors)} of {len(messages_)} messages were refused; the first: {first}",
                errors,
            )

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Lease up to ``limit`` messages, the first queue first."""
        if limit <= 0 or not queues:
            return []
        clock = self._clock
        deadline = clock.monotonic() + wait
        while True:
            taken, stamp, (due, lease_end), leased_until = await self._connection.run(
                lambda session: self._take(session, queues, limit),
                writes=False,
                unseen=self._return_unseen,
            )
            if taken:
                deliveries = [messages.read(row, leased_until=leased_until) for row in taken]
                for delivery in deliveries:
                    self._held[delivery.tag] = None
                return deliveries
            now = clock.monotonic()
            if now >= deadline or not self._connection.opened:
                return []
            pause = min(due - clock.time(), lease_end - clock.uptime(), _LONGEST_PAUSE)
            await self._connection.wait(stamp, until=min(deadline, now + pause))
            if not self._connection.opened:
                return []

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Never deliver the messages as work again; returns those already lost."""
        if not deliveries:
            return []
        lost = await self._connection.run(lambda session: messages.begin(session, deliveries))
        self._release(lost)
        return lost

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that the messages are about to be run; returns those already lost."""
        if not deliveries:
            return []
        return await self._connection.run(lambda session: messages.start(session, deliveries))

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; returns those whose lease had already been lost."""
        return await self._settle(deliveries, lambda s: messages.forget(s, deliveries))

    async def nack(
        self,
        deliveries: Sequence[Delivery],
        *,
        requeue: bool = True,
        delay: float = 0.0,
        counts: bool = False,
        reason: str = "",
    ) -> list[Delivery]:
        """Give the messages back, or put them with the dead letters."""
        now = self._clock.time()
        if not requeue:
            return await self._settle(
                deliveries, lambda s: messages.bury(s, deliveries, now, reason, self._keep_dead)
            )
        due = now + delay if delay > 0 else None
        return await self._settle(
            deliveries, lambda s: messages.give_back(s, deliveries, due, counts=counts)
        )

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Hold on to the messages for ``lease`` seconds from now; returns those already lost."""
        if not deliveries:
            return []
        lost = await self._connection.run(lambda s: messages.extend(s, deliveries, lease))
        self._release(lost)
        return lost

    async def extend_all(self, holder: str, queues: Sequence[str], *, lease: float) -> int:
        """Hold on to all that a client has on loan, of whichever queue; returns how many."""
        del queues
        first = int(holder)
        return await self._connection.run(
            lambda session: messages.extend_all(session, (first, first + _TAKES), lease)
        )

    async def purge(self, queues: Sequence[str]) -> int:
        """Drop every message nobody holds; returns how many."""
        now = self._clock.time()
        return await self._connection.run(lambda session: messages.purge(session, queues, now))

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Ready, leased and delayed messages per queue."""
        now = self._clock.time()
        return await self._connection.run(
            lambda session: messages.stats(session, queues, now), writes=False
        )

    def commits_with(self, backend: ResultBackend) -> bool:
        """Whether the backend keeps its results in the same file."""
        return isinstance(backend, SQLiteBackend) and backend.path == self._connection.path

    async def settle(
        self, settlements: Sequence[Settlement], *, compose: Compose
    ) -> list[Delivery]:
        """Publish, store, count and acknowledge in one transaction.

        A settlement whose lease was lost has no effect at all, and is returned. A follow-up
        that cannot be kept is reported in the log and left out.
        """
        now = self._clock.time()
        try:
            lost, refused = await self._connection.run(
                lambda session: _settle(
                    session, settlements, compose, now, self._keep_dead, careful=False
                )
            )
        except messages.SomeLost:
            lost, refused = await self._connection.run(
                lambda session: _settle(
                    session, settlements, compose, now, self._keep_dead, careful=True
                )
            )
        for message, reason in refused:
            logger.error("The follow-up %r is lost: %s", message.id, reason)
        self._release([s.delivery for s in settlements if s.delivery is not None])
        return lost

    async def _settle(
        self, deliveries: Sequence[Delivery], work: Callable[[Session], list[Delivery]]
    ) -> list[Delivery]:
        if not deliveries:
            return []
        lost = await self._connection.run(work)
        self._release(deliveries)
        return lost

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._held.pop(delivery.tag, None)

    def _take_held(self) -> list[str]:
        held = list(self._held)
        self._held.clear()
        # In a forked child they are the parent's.
        return held if self._pid == os.getpid() else []

    def _take(
        self, session: Session, queues: Sequence[str], limit: int
    ) -> tuple[list[messages.Taken], Stamp, messages.Moments, float]:
        stamp = self._connection.observe(session)
        now, leased_until = self._clock.time(), self._clock.monotonic() + self._lease
        taken: list[messages.Taken] = []
        # Holders try three times per lease to extend it.
        calm, grace = self._connection.calm, self._lease / 2
        calm_at = calm.lasts_at(grace)
        if calm.troubled or messages.ready(session, queues, now, calm_at):
            self._takes = (self._takes + 1) % _TAKES
            token = self._first_token + self._takes

            def take(session: Session) -> list[messages.Taken]:
                if calm.troubled:
                    session.execute(session.sql["touch"])
                return messages.take(
                    session,
                    queues,
                    limit=limit,
                    now=now,
                    calm_at=calm_at,
                    lease=self._lease,
                    token=token,
                )

            taken = session.transact(take)
            calm.succeed()
        if taken:
            return taken, stamp, (0.0, 0.0), leased_until
        due, lease_end = messages.next_due(session)
        return taken, stamp, (due, max(lease_end, calm.lasts_at(grace))), leased_until

    def _return_unseen(
        self, result: tuple[list[messages.Taken], Stamp, messages.Moments, float]
    ) -> None:
        """Give back what arrived for a caller who had gone."""
        tags = [f"{seq}:{token}" for _, seq, token, *_ in result[0]]
        if tags and self._connection.opened:
            # Should it fail, they come back when their lease runs out.
            self._connection.begin(lambda session: messages.unlend(session, tags)).detach()


def _nothing(_: Session) -> None:
    """Everything before is done when this is."""


def _leave(session: Session, tags: Sequence[str]) -> None:
    session.executemany(session.sql["leave"], [tag.split(":") for tag in tags])
    session.news.add("messages")


def _settle(
    session: Session,
    settlements: Sequence[Settlement],
    compose: Compose,
    now: float,
    keep: Retention,
    *,
    careful: bool,
) -> tuple[list[Delivery], list[tuple[Message, Exception]]]:
    lost: list[Delivery] = []
    kept: list[Settlement] = []
    if not careful:
        done = [s.delivery for s in settlements if s.delivery and type(s.verdict) is Ack]
        messages.forget_all(session, done)
    for settlement in settlements:
        if not careful and type(settlement.verdict) is Ack:
            kept.append(settlement)
            continue
        delivery = settlement.delivery
        gone = delivery and messages.conclude(session, delivery, settlement.verdict, now, keep)
        if gone:
            lost += gone
        else:
            kept.append(settlement)
    arrivals: list[Arrival] = [arrival for s in kept for arrival in s.arrivals]
    follow_ups = [message for s in kept for message in s.publish]
    records = [record for s in kept for record in (s.record, *s.tail) if record]
    chords.expect(session, [expected for s in kept for expected in s.expect], now)
    while arrivals:
        arrival_at = arrival_by_chord(arrivals)
        full = chords.arrive(session, arrivals, now)
        arrivals = []
        for chord in full:
            composed = compose(arrival_at[chord.id], chord)
            follow_ups += composed.publish
            records += composed.records
            arrivals += composed.arrivals
            chords.expect(session, composed.expect, now)
        chords.seal(session, [chord.id for chord in full], now)
    if records:
        results.store(session, records, now)
    return lost, _publish(session, follow_ups, now) if follow_ups else []


def _publish(
    session: Session, follow_ups: Sequence[Message], now: float
) -> list[tuple[Message, Exception]]:
    refused: list[tuple[Message, Exception]] = []
    rows: list[messages.Row] = []
    for message in follow_ups:
        try:
            rows.append(messages.prepare(message))
        except EncodeError as error:
            refused.append((message, error))
    errors = messages.publish(session, rows, now)
    return refused + [(rows[index][0], error) for index, error in errors.items()]
