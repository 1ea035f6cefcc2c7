"""What one process has heard of its tasks: results that came as messages, kept until asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence

from umbel.model import Queue, ResultRecord
from umbel.states import finality

__all__ = ["Listener", "Mailbox"]

_MOST_KEPT = 8192


class Listener:
    """The records that one watcher waits for: an asynchronous iterator of batches.

    Made on the event loop that reads it; filled from any thread.
    """

    __slots__ = ("_arrived", "_failure", "_loop", "_mutex", "_news")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._mutex = threading.Lock()
        self._news = asyncio.Event()
        self._arrived: list[ResultRecord] = []
        self._failure: Exception | None = None

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> list[ResultRecord]:
        while True:
            await self._news.wait()
            with self._mutex:
                arrived, self._arrived = self._arrived, []
                self._news.clear()
            if arrived:
                return arrived
            if self._failure is not None:
                self._news.set()
                raise self._failure

    def add(self, records: Iterable[ResultRecord]) -> None:
        """Hand over records."""
        with self._mutex:
            self._arrived.extend(records)
        self._wake()

    def fail(self, reason: Exception) -> None:
        """Say that nothing more will come."""
        self._failure = reason
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            # Its loop is closed: nobody reads it any more.
            return


class Mailbox:
    """Whoever empties the queue puts in what came; all event loops of the process read it.

    What nobody watches is kept for those who ask later, but only so much: the oldest goes first.

    Args:
        name: The queue that answers come to.
        expires: Seconds that results are kept; None: for ever.
        most: Records that are kept.
    """

    def __init__(self, name: str, expires: float | None, *, most: int = _MOST_KEPT) -> None:
        self.queue = Queue(name, expires=expires)
        """Durable, so that what was sent survives a restart of RabbitMQ, and gone by itself when
        nobody has looked into it for as long as results are kept. Other than Celery's it is not
        deleted with its last consumer: a lost connection must not take the results along."""
        self._most = most
        # All three are touched by every thread with an event loop, always under the mutex.
        self._mutex = threading.Lock()
        self._record_by_id: dict[str, ResultRecord] = {}
        self._listeners_by_id: dict[str, list[Listener]] = {}

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Keep what came, but for what would lower a final state, and tell who watches."""
        told: dict[Listener, list[ResultRecord]] = {}
        with self._mutex:
            kept = self._record_by_id
            for record in records:
                known = kept.get(record.id)
                if known is not None and finality(record.state) > finality(known.state):
                    continue
                kept[record.id] = record
                for listener in self._listeners_by_id.get(record.id, ()):
                    told.setdefault(listener, []).append(record)
            while len(kept) > self._most:
                del kept[next(iter(kept))]
        for listener, news in told.items():
            listener.add(news)

    def find(self, ids: Sequence[str], now: float) -> dict[str, ResultRecord]:
        """What is known of some tasks.

        Args:
            now: Unix seconds; what has expired by then is forgotten.
        """
        with self._mutex:
            kept = self._record_by_id
            found = {id_: kept[id_] for id_ in ids if id_ in kept}
            for record in tuple(found.values()):
                if record.expires_at is not None and record.expires_at <= now:
                    del found[record.id], kept[record.id]
        return found

    def forget(self, ids: Sequence[str]) -> None:
        """Drop what is known of some tasks."""
        with self._mutex:
            for id_ in ids:
                self._record_by_id.pop(id_, None)

    def enter(self, ids: Sequence[str], listener: Listener) -> None:
        """Tell a listener of all changes from now on."""
        with self._mutex:
            for id_ in ids:
                self._listeners_by_id.setdefault(id_, []).append(listener)

    def leave(self, ids: Sequence[str], listener: Listener) -> None:
        """Tell it no longer."""
        with self._mutex:
            for id_ in ids:
                listeners = self._listeners_by_id.get(id_, [])
                if listener in listeners:
                    listeners.remove(listener)
                    if not listeners:
                        del self._listeners_by_id[id_]
