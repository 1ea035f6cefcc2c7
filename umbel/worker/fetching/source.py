"""Where a worker's messages come from."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.model import Queue
from umbel.protocols import Broker, Clock, TellsTime

__all__ = ["Source"]


class Source:
    """Where messages come from, and what they may contain. Belongs to the worker's loop."""

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[Queue],
        *,
        accept: frozenset[str],
        limit: int,
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            accept: Content types.
            limit: Bytes; no body may unpack to more.
        """
        self._clock = clock
        self._tells_time = broker if isinstance(broker, TellsTime) else None
        self.broker = broker
        self.accept = accept
        self.limit = limit
        self.consumed: tuple[Queue, ...] = tuple(queues)
        """What is consumed from, the first one first."""
        self.queues: tuple[str, ...] = tuple(queue.name for queue in queues)
        """Their names."""

    def time(self) -> float:
        """By which tasks are due and expire, in Unix seconds: the broker's own time, where it has
        one."""
        broker = self._tells_time
        return self._clock.time() + (broker.skew if broker is not None else 0.0)

    async def add(self, queue: Queue) -> bool:
        """Consume from one more queue, which is made if need be; whether that is news.

        Raises:
            QueueConflict: It exists with other properties.
            BrokerUnavailable: No connection.
        """
        if queue.name in self.queues:
            return False
        await self.broker.declare([queue])
        self._consume((*self.consumed, queue))
        return True

    def remove(self, name: str) -> bool:
        """Consume from a queue no more; whether that is news."""
        if name not in self.queues:
            return False
        self._consume(tuple(queue for queue in self.consumed if queue.name != name))
        return True

    def _consume(self, queues: tuple[Queue, ...]) -> None:
        self.consumed = queues
        self.queues = tuple(queue.name for queue in queues)
