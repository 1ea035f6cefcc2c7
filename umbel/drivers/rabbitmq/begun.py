"""Tasks that must run at most once: off the queue when they begin, and yet not forgotten.

What a worker begins it notes in a queue of its own, and acknowledges. Nobody consumes that queue.
There are two of it: every few seconds the worker notes what is still running in the other one and
empties the first. When it no longer does, because it is dead, what is noted grows old, and
RabbitMQ moves it to the queue of losses, where any worker finds it
(:mod:`umbel.drivers.rabbitmq.salvage`). What has ended is noted, too: it is not a loss.

Nothing is held without acknowledgement, so no ``consumer_timeout`` counts, however long a task
takes. The notes do not survive a restart of RabbitMQ: the worker writes them anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Container, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from umbel.exceptions import BatchError, BrokerUnavailable, OperationalError, QueueConflict
from umbel.model import Delivery, Message, Queue

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from umbel.drivers.rabbitmq.publishing import Publisher
    from umbel.drivers.rabbitmq.topology import Topology
    from umbel.protocols import Clock

__all__ = ["BEGUN", "DONE", "Begun", "Note", "Shelf", "losses_of", "name_of", "queue_of_losses"]

logger = logging.getLogger(__name__)

BEGUN, DONE = "application/x-umbel-begun", "application/x-umbel-done"
_LARGEST_NOTE = 1 << 20
_LARGEST_SHELF = 8 << 20
_LOSSES_KEPT = 7 * 86400
_LONGEST_NAME = 255

_encode = msgspec.msgpack.Encoder().encode


class Note(msgspec.Struct, frozen=True, array_like=True):
    """That a task was begun."""

    tag: str
    """Of the delivery; names it among all that ever were."""
    attempt: int
    message: Message


def losses_of(queue: str) -> str:
    """The queue in which it is found what of a queue was begun by workers that are dead."""
    return name_of("umbel.lost", queue)


def queue_of_losses(queue: str) -> Queue:
    """What that queue is like; one worker at a time reads it."""
    return Queue(
        losses_of(queue),
        queue_arguments={
            "x-queue-type": "classic",
            "x-single-active-consumer": True,
            "x-expires": _LOSSES_KEPT * 1000,
        },
    )


class Shelf:
    """The two queues in which it is noted what was begun of one queue."""

    def __init__(self, kind: str, owner: str, queue: str) -> None:
        self.queue = queue
        self.names = [name_of(f"umbel.{kind}.{owner}.{side}", queue) for side in "ab"]
        self.running: dict[str, Delivery] = {}
        self.size = 0
        """Bytes that were noted since the last turn."""
        self.has_notes = False
        self.declared_at = float("-inf")
        self._writing = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def writing(self) -> Generator[str]:
        """While something is written to the queue it gives, that is not emptied."""
        self._writing += 1
        self._quiet.clear()
        self.has_notes = True
        try:
            yield self.names[0]
        finally:
            self._writing -= 1
            if not self._writing:
                self._quiet.set()

    async def turn(self) -> str:
        """Change sides; the queue that nobody writes to any more."""
        self.names.reverse()
        self.size = 0
        # New writers write to the other one. They may keep us waiting, for what they write counts.
        await self._quiet.wait()
        return self.names[1]


class Begun:
    """Keeps the notes of one worker.

    Args:
        owner: The name of this client, which nobody else has.
        notice_within: Seconds after which what is noted here is somebody else's to find.
    """

    kind = "begun"

    def __init__(
        self,
        owner: str,
        publisher: Publisher,
        topology: Topology,
        clock: Clock,
        *,
        notice_within: float,
    ) -> None:
        self._owner = owner
        self._publisher = publisher
        self._topology = topology
        self._clock = clock
        self._lifetime = notice_within
        self._shelf_by_queue: dict[str, Shelf] = {}
        self._shelf_by_tag: dict[str, Shelf] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._full = asyncio.Event()

    @property
    def tags(self) -> Container[str]:
        """Of the deliveries that are kept here."""
        return self._shelf_by_tag

    def count(self, queue: str) -> int:
        """How many messages of a queue were begun and have not ended."""
        shelf = self._shelf_by_queue.get(queue)
        return 0 if shelf is None else len(shelf.running)

    def expect(self, deliveries: Sequence[Delivery]) -> None:
        """These are begun, from now on; :meth:`note` says so to RabbitMQ."""
        shelves, shelf_by_tag = self._shelf_by_queue, self._shelf_by_tag
        for delivery in deliveries:
            shelf = shelves.get(delivery.queue)
            if shelf is None:
                shelf = shelves[delivery.queue] = Shelf(self.kind, self._owner, delivery.queue)
            shelf.running[delivery.tag] = delivery
            shelf_by_tag[delivery.tag] = shelf

    async def note(self, deliveries: Sequence[Delivery]) -> None:
        """Write down what is expected; RabbitMQ has it when this returns.

        Raises:
            BrokerUnavailable: No connection, or it broke.
        """
        for queue in {delivery.queue for delivery in deliveries}:
            shelf = self._shelf_by_queue[queue]
            own = [delivery for delivery in deliveries if delivery.queue == queue]
            await self._write(shelf, own)
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def strike(self, deliveries: Sequence[Delivery]) -> None:
        """These have ended, or are not ours: nobody is to find them."""
        tags_by_shelf: dict[Shelf, list[str]] = {}
        for delivery in deliveries:
            shelf = self._shelf_by_tag.pop(delivery.tag, None)
            if shelf is not None:
                del shelf.running[delivery.tag]
                tags_by_shelf.setdefault(shelf, []).append(delivery.tag)
        for shelf, tags in tags_by_shelf.items():
            self._ended(shelf, tags)

    def rewrite(self) -> None:
        """The notes may be gone: write them anew, at once."""
        self._full.set()

    async def close(self) -> None:
        """Leave what has not ended to be found at once. Idempotent.

        Raises:
            BrokerUnavailable: No connection; it is found in a while.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        shelves = list(self._shelf_by_queue.values())
        self._shelf_by_queue.clear()
        self._shelf_by_tag.clear()
        for shelf in shelves:
            running = list(shelf.running.values())
            if running:
                place = self._destination(shelf.queue).name
                await self._publisher.publish(list(self._notes(place, running)))
            if shelf.has_notes:
                for name in shelf.names:
                    await self._topology.delete(name)

    async def _write(self, shelf: Shelf, deliveries: Sequence[Delivery]) -> None:
        now = self._clock.monotonic()
        if now - shelf.declared_at > self._lifetime:
            await self._provide(shelf)
            shelf.declared_at = now
        with shelf.writing() as place:
            notes = list(self._notes(place, deliveries))
            shelf.size += sum(len(note.body) for note in notes)
            await self._publisher.publish(notes)
        if shelf.size > _LARGEST_SHELF:
            self._full.set()

    def _notes(self, place: str, deliveries: Sequence[Delivery]) -> Iterator[Message]:
        notes: list[Note] = []
        size = 0
        for delivery in deliveries:
            notes.append(Note(delivery.tag, delivery.attempt, delivery.message))
            size += len(delivery.message.body) + len(delivery.message.headers)
            if size > _LARGEST_NOTE:
                yield self._message(BEGUN, place, _encode(notes))
                notes, size = [], 0
        if notes:
            yield self._message(BEGUN, place, _encode(notes))

    def _message(self, kind: str, place: str, body: bytes) -> Message:
        return Message(
            id=self._owner,
            body=body,
            content_type=kind,
            content_encoding="binary",
            routing_key=place,
            properties={"delivery_mode": 1},
        )

    def _ended(self, shelf: Shelf, tags: list[str]) -> None:
        # Not waited for: what is lost of it, a task that ended is taken for one that did not.
        self._publisher.mention(self._message(DONE, shelf.names[0], _encode(tags)))

    def _destination(self, queue: str) -> Queue:
        """Where it is found what was noted by one who is dead."""
        return queue_of_losses(queue)

    async def _provide(self, shelf: Shelf) -> None:
        destination = self._destination(shelf.queue)
        if destination.name != shelf.queue:
            # A queue of tasks is declared by who knows what it is like.
            await self._topology.declare([destination])
        for name in shelf.names:
            await self._topology.provide(
                name,
                destination.name,
                lifetime=self._lifetime,
                # Renewed with every turn; long enough for everything to be moved before.
                unused=4 * self._lifetime,
            )

    async def _keep(self) -> None:
        """Turn every shelf, a few times in the lifetime of a note, and when one is full."""
        while True:
            try:
                async with asyncio.timeout(self._lifetime / 4):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            for shelf in tuple(self._shelf_by_queue.values()):
                if not shelf.has_notes:
                    continue
                try:
                    await self._turn(shelf)
                except (BatchError, BrokerUnavailable, OperationalError, QueueConflict) as error:
                    logger.warning(
                        "Could not say that the worker is alive, so its %d running tasks of queue "
                        "%r may be reported as lost: %s",
                        len(shelf.running),
                        shelf.queue,
                        error,
                    )
                    # At once when the connection is back, and no later than in a moment.
                    await self._clock.sleep(min(1.0, self._lifetime / 8))
                    self._full.set()

    async def _turn(self, shelf: Shelf) -> None:
        await self._provide(shelf)
        shelf.declared_at = self._clock.monotonic()
        left = await shelf.turn()
        running = list(shelf.running.values())
        if running:
            await self._write(shelf, running)
        shelf.has_notes = bool(running)
        await self._topology.purge(left)


def name_of(start: str, queue: str) -> str:
    """The name of a queue that goes with another one."""
    name = f"{start}.{queue}"
    if len(name.encode(errors="replace")) <= _LONGEST_NAME:
        return name
    return f"{start}.{hashlib.sha256(queue.encode(errors='replace')).hexdigest()}"
