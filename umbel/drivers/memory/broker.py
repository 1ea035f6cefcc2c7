"""A broker in the memory of one process: for tests, examples, and programs that need no more."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from math import inf

from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.dead_letters import MemoryDeadLetters
from umbel.drivers.memory.line import Entry, Line
from umbel.drivers.memory.revocations import MemoryRevocations
from umbel.drivers.memory.schedules import MemorySchedules
from umbel.drivers.memory.store import MemoryStore
from umbel.drivers.memory.waking import Sleeper
from umbel.exceptions import BatchError, BrokerUnavailable, OperationalError
from umbel.model import (
    Ack,
    Arrival,
    Composed,
    DeadLetter,
    Delivery,
    Message,
    Nack,
    Queue,
    QueueStats,
    Retention,
    Settlement,
    arrival_by_chord,
)
from umbel.protocols import Capabilities, Clock, Compose, ResultBackend

__all__ = ["MemoryBroker"]

logger = logging.getLogger(__name__)

_KEEP_DEAD = Retention()

_LONGEST_SLEEP = 3600.0


class MemoryBroker:
    """Implements ``umbel.protocols.Broker`` and ``Transactional``.

    Args:
        store: Shared by all clients that are to meet.
        lease: Seconds a delivery is ours unless extended.
        keep_dead: Which dead letters are kept.
    """

    def __init__(
        self,
        store: MemoryStore,
        *,
        clock: Clock,
        lease: float = 20.0,
        keep_dead: Retention = _KEEP_DEAD,
    ) -> None:
        self._keep_dead = keep_dead
        self.dead_letters = MemoryDeadLetters(store)
        self.revocations = MemoryRevocations(store)
        self.schedules = MemorySchedules(store, clock=clock)
        self._store = store
        self._clock = clock
        self._lease = lease
        self._name = secrets.token_hex(4)
        self._held: dict[str, None] = {}
        self._sleepers: set[Sleeper] = set()
        self._opened = False

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return Capabilities(
            lease=self._lease, delay=True, priority="high-first", ordered=True, wakeup=True
        )

    async def open(self) -> None:
        """Be ready. Idempotent."""
        self._opened = True

    async def close(self) -> None:
        """Give back every unsettled delivery. Idempotent."""
        self._opened = False
        with self._store.mutex:
            queues = self._give_back(list(self._held), 0.0, ends=True)
            sleepers = self._store.sleepers(queues)
        self._held.clear()
        _wake(sleepers | self._sleepers)

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues and their bindings exist. Idempotent."""
        self._require_open()
        with self._store.mutex:
            self._store.declare(queues)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Accept the messages; what reaches no queue is refused."""
        self._require_open()
        with self._store.mutex:
            queues, errors = self._put(messages)
            sleepers = self._store.sleepers(queues)
        _wake(sleepers)
        if errors:
            first = next(iter(errors.values()))
            raise BatchError(
                f"{len(errors)} of {len(messages)} messages were refused; the first: {first}",
                errors,
            )

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Lease up to ``limit`` messages, the first queue first."""
        self._require_open()
        if limit <= 0 or not queues:
            return []
        clock, store = self._clock, self._store
        deadline = clock.monotonic() + wait
        while True:
            with store.mutex:
                deliveries = self._take(queues, limit)
                now = clock.monotonic()
                if deliveries or now >= deadline:
                    return deliveries
                lines = [store.line(queue) for queue in queues]
                next_due = min(line.next_due() for line in lines)
                next_end = min(line.next_end() for line in lines)
                sleeper = Sleeper()
                store.sleep(queues, sleeper)
            self._sleepers.add(sleeper)
            try:
                pause = min(next_due - clock.time(), _LONGEST_SLEEP)
                await sleeper.sleep(clock, min(deadline, next_end, now + pause))
            finally:
                self._sleepers.discard(sleeper)
                with store.mutex:
                    store.leave(queues, sleeper)
            if not self._opened:
                return []

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Never deliver the messages as work again; returns those already lost."""
        self._require_open()
        with self._store.mutex:
            lost = self._lost(deliveries)
            gone = {delivery.tag for delivery in lost}
            for delivery in deliveries:
                if delivery.tag not in gone:
                    self._store.loans[delivery.tag][2].begun = True
            return lost

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that the messages are about to be run; returns those already lost."""
        self._require_open()
        with self._store.mutex:
            lost = self._lost(deliveries)
            gone = {delivery.tag for delivery in lost}
            for delivery in deliveries:
                if delivery.tag not in gone:
                    self._store.loans[delivery.tag][2].started = True
            return lost

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; returns those whose lease had already been lost."""
        self._require_open()
        with self._store.mutex:
            return self._drop(deliveries)

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
        self._require_open()
        with self._store.mutex:
            if not requeue:
                return self._drop(deliveries, reason)
            lost = self._lost(deliveries)
            tags = [delivery.tag for delivery in deliveries]
            sleepers = self._store.sleepers(self._give_back(tags, delay, counts=counts))
        _wake(sleepers)
        return lost

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Hold on to the messages for ``lease`` seconds from now; returns those already lost."""
        self._require_open()
        until = self._clock.monotonic() + lease
        lost: list[Delivery] = []
        with self._store.mutex:
            for delivery in deliveries:
                loan = self._store.loans.get(delivery.tag)
                if loan is None or loan[2].tag != delivery.tag:
                    lost.append(delivery)
                else:
                    loan[0].extend(loan[2], until)
        return lost

    async def purge(self, queues: Sequence[str]) -> int:
        """Drop every message nobody holds; returns how many."""
        self._require_open()
        with self._store.mutex:
            return sum(self._store.line(queue).purge() for queue in queues)

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Ready, leased and delayed messages per queue."""
        self._require_open()
        now, monotonic = self._clock.time(), self._clock.monotonic()
        found: dict[str, QueueStats] = {}
        with self._store.mutex:
            for queue in queues:
                ready, leased, delayed = self._store.line(queue).count(now, monotonic)
                found[queue] = QueueStats(ready=ready, leased=leased, delayed=delayed)
        return found

    def commits_with(self, backend: ResultBackend) -> bool:
        """Whether the backend is a client of the same store."""
        return isinstance(backend, MemoryBackend) and backend.uses(self._store)

    async def settle(
        self, settlements: Sequence[Settlement], *, compose: Compose
    ) -> list[Delivery]:
        """Publish, store, count and acknowledge in one step.

        A settlement whose lease was lost has no effect at all, and is returned. A follow-up
        that reaches no queue is reported in the log and left out.
        """
        self._require_open()
        store, now = self._store, self._clock.time()
        with store.mutex:
            lost = self._lost([s.delivery for s in settlements if s.delivery is not None])
            gone = {delivery.tag for delivery in lost}
            kept = [s for s in settlements if s.delivery is None or s.delivery.tag not in gone]
            # What can raise comes first; an arrival that is counted twice counts once.
            for settlement in kept:
                if settlement.expect:
                    store.results.chords.expect(settlement.expect, now)
            composed, full = self._complete([a for s in kept for a in s.arrivals], compose, now)
            follow_ups = [message for each in composed for message in each.publish]
            follow_ups += [message for s in kept for message in s.publish]
            records = [record for each in composed for record in each.records]
            records += [record for s in kept for record in (s.record, *s.tail) if record]
            store.results.chords.seal(full, now)
            queues, errors = self._put(follow_ups)
            told = [
                (subscription, record)
                for record in records
                for subscription in store.results.store(record, now)
            ]
            queues |= self._conclude(kept)
            sleepers = store.sleepers(queues)
        for subscription, record in told:
            subscription.add([record])
        _wake(sleepers)
        for index, reason in errors.items():
            logger.error("The follow-up %r is lost: %s", follow_ups[index].id, reason)
        return lost

    # With the store's mutex held ------------------------------------------------------------

    def _complete(
        self, arrivals: Sequence[Arrival], compose: Compose, now: float
    ) -> tuple[list[Composed], list[str]]:
        """What becomes of the chords that are full now, the ones around them included."""
        composed: list[Composed] = []
        full: list[str] = []
        while arrivals:
            arrival_at = arrival_by_chord(arrivals)
            chords = self._store.results.chords.arrive(arrivals, now)
            made = [compose(arrival_at[chord.id], chord) for chord in chords]
            for each in made:
                self._store.results.chords.expect(each.expect, now)
            composed += made
            full += [chord.id for chord in chords]
            arrivals = [arrival for each in made for arrival in each.arrivals]
        return composed, full

    def _put(self, messages: Sequence[Message]) -> tuple[set[str], dict[int, Exception]]:
        now = self._clock.time()
        queues: set[str] = set()
        errors: dict[int, Exception] = {}
        for index, message in enumerate(messages):
            try:
                queues.update(self._store.put(message, now))
            except OperationalError as error:
                errors[index] = error
        return queues, errors

    def _take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        store, now, monotonic = self._store, self._clock.time(), self._clock.monotonic()
        until = monotonic + self._lease
        taken: list[Delivery] = []
        for queue in queues:
            line = store.line(queue)
            while len(taken) < limit:
                entry = line.take(now, monotonic)
                if entry is None:
                    break
                tag = f"{self._name}-{store.number()}"
                line.lend(entry, tag, until)
                store.loans[tag] = (line, queue, entry)
                self._held[tag] = None
                taken.append(
                    Delivery(
                        message=entry.message,
                        queue=queue,
                        tag=tag,
                        attempt=entry.deaths + 1,
                        redelivered=entry.redelivered,
                        begun=entry.begun,
                        leased_until=until,
                    )
                )
        return taken

    def _lost(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        loans = self._store.loans
        lost: list[Delivery] = []
        for delivery in deliveries:
            loan = loans.get(delivery.tag)
            if loan is None or loan[2].tag != delivery.tag:
                self._forget(delivery.tag)
                lost.append(delivery)
        return lost

    def _drop(self, deliveries: Sequence[Delivery], reason: str | None = None) -> list[Delivery]:
        """Forget the messages; with a reason, keep them with the dead ones."""
        lost: list[Delivery] = []
        for delivery in deliveries:
            loan = self._forget(delivery.tag)
            if loan is None or loan[2].tag != delivery.tag:
                lost.append(delivery)
                continue
            line, queue, entry = loan
            line.remove(entry)
            if reason is not None:
                self._store.bury(
                    DeadLetter(
                        id=f"{self._store.number()}",
                        queue=queue,
                        message=entry.message,
                        attempt=entry.deaths + 1,
                        reason=reason,
                        dropped_at=self._clock.time(),
                    ),
                    self._keep_dead,
                )
        return lost

    def _give_back(
        self, tags: Iterable[str], delay: float, *, counts: bool = False, ends: bool = False
    ) -> set[str]:
        now = self._clock.time()
        queues: set[str] = set()
        for tag in tags:
            loan = self._forget(tag)
            if loan is not None and loan[2].tag == tag:
                line, queue, entry = loan
                due = now + delay if delay > 0 else -inf
                # What was begun by a holder that ends is left to be noticed.
                begun = ends and entry.begun
                line.give_back(entry, due, now, counts=counts, begun=begun)
                queues.add(queue)
        return queues

    def _conclude(self, settlements: Sequence[Settlement]) -> set[str]:
        queues: set[str] = set()
        for settlement in settlements:
            delivery = settlement.delivery
            if delivery is None:
                continue
            match settlement.verdict:
                case Ack():
                    self._drop([delivery])
                case Nack(requeue=False, reason=reason):
                    self._drop([delivery], reason)
                case Nack(delay=delay, counts=counts):
                    queues |= self._give_back([delivery.tag], delay, counts=counts)
        return queues

    def _forget(self, tag: str) -> tuple[Line, str, Entry] | None:
        self._held.pop(tag, None)
        return self._store.loans.pop(tag, None)

    def _require_open(self) -> None:
        if not self._opened:
            raise BrokerUnavailable("the memory broker is closed; await open() first")


def _wake(sleepers: Iterable[Sleeper]) -> None:
    for sleeper in sleepers:
        sleeper.wake()
