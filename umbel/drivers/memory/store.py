"""What all clients of one ``memory://`` share: queues, results, and who waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from math import inf

from umbel.drivers.memory.fanout import MemoryTopics
from umbel.drivers.memory.line import Entry, Line
from umbel.drivers.memory.results import Results
from umbel.drivers.memory.waking import Sleeper
from umbel.exceptions import OperationalError, QueueConflict
from umbel.model import DeadLetter, Message, Queue, Retention, Revocation, ScheduleRecord
from umbel.routing.bindings import Bindings, conflict, ways_into
from umbel.routing.expiry import drop_time

__all__ = ["MemoryStore", "store_of"]


class Schedule:
    """Periodic tasks, and who leads."""

    def __init__(self) -> None:
        self.records: dict[str, ScheduleRecord] = {}
        self.leader = ""
        self.term = 0
        self.until = 0.0
        self.version = 0


class MemoryStore:
    """The state behind memory brokers and backends. Thread-safe by one mutex, which nobody holds
    across an ``await``: several event loops in several threads may use it at once."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.topics = MemoryTopics()
        # Everything below is guarded by the mutex.
        self.results = Results()
        self.dead: dict[str, DeadLetter] = {}
        """By id, the latest last."""
        self.revocations: dict[Revocation, int] = {}
        self.schedule = Schedule()
        self.loans: dict[str, tuple[Line, str, Entry]] = {}
        self._lines: dict[str, Line] = {}
        self._queues: dict[str, Queue] = {}
        self._bindings = Bindings()
        self._sleepers: dict[str, set[Sleeper]] = {}
        self._numbers = 0

    def number(self) -> int:
        """A number that nobody else gets; they rise."""
        self._numbers += 1
        return self._numbers

    def bury(self, letter: DeadLetter, keep: Retention) -> None:
        """Keep a dead letter; of more than there may be, the oldest go."""
        dead = self.dead
        dead[letter.id] = letter
        oldest = letter.dropped_at - (inf if keep.seconds is None else keep.seconds)
        while dead:
            first = next(iter(dead.values()))
            if len(dead) <= keep.count and first.dropped_at >= oldest:
                return
            del dead[first.id]

    def declare(self, queues: Sequence[Queue]) -> None:
        """Remember the queues and their bindings.

        Raises:
            QueueConflict: One exists with other properties; the others are declared.
        """
        problems: list[str] = []
        for queue in queues:
            existing = self._queues.setdefault(queue.name, queue)
            problem = conflict(existing, queue)
            if problem is not None:
                problems.append(problem)
                continue
            for way in ways_into(queue):
                self._bindings.add(way)
        if problems:
            raise QueueConflict(" ".join(problems))

    def line(self, queue: str) -> Line:
        """A queue's messages."""
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = Line()
        return line

    def put(self, message: Message, now: float) -> Iterable[str]:
        """Put a message into the queues it reaches; returns them.

        Raises:
            OperationalError: It reaches none.
        """
        queues: Sequence[str] = (message.routing_key,)
        if message.exchange:
            queues = self._bindings.queues(message.exchange, message.routing_key, message.headers)
            if not queues:
                raise OperationalError(
                    f"exchange {message.exchange!r} has no queue bound for routing key "
                    f"{message.routing_key!r}; declare the queue, or publish to it by name"
                )
        due = message.not_before
        for queue in queues:
            known = self._queues.get(queue)
            ttl = None if known is None else known.message_ttl
            drop_at = drop_time(message, message_ttl=ttl, now=now)
            entry = Entry(message, self.number(), float("inf") if drop_at is None else drop_at)
            self.line(queue).add(entry, now if due is None else due, now)
        return queues

    def sleep(self, queues: Sequence[str], sleeper: Sleeper) -> None:
        """Wake the sleeper when something comes into one of the queues."""
        for queue in queues:
            self._sleepers.setdefault(queue, set()).add(sleeper)

    def leave(self, queues: Sequence[str], sleeper: Sleeper) -> None:
        """No longer."""
        for queue in queues:
            sleepers = self._sleepers.get(queue)
            if sleepers is not None:
                sleepers.discard(sleeper)
                if not sleepers:
                    del self._sleepers[queue]

    def sleepers(self, queues: Iterable[str]) -> set[Sleeper]:
        """Who waits for one of the queues; to be woken once the mutex is free."""
        return {sleeper for queue in queues for sleeper in self._sleepers.get(queue, ())}


_mutex = threading.Lock()
# Guarded by the mutex. What ``memory://`` means is this: the same to everyone in the process.
_store_by_name: dict[str, MemoryStore] = {}


def store_of(url: str) -> MemoryStore:
    """The store that a URL names: ``memory://`` is one, ``memory://other`` is another."""
    name = url.partition("://")[2].strip("/")
    with _mutex:
        store = _store_by_name.get(name)
        if store is None:
            store = _store_by_name[name] = MemoryStore()
        return store
