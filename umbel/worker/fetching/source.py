"""Where a worker's messages come from."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.model import Queue
from umbel.protocols import Broker

__all__ = ["Source"]


class Source:
    """Where messages come from, and what they may contain. Belongs to the worker's loop."""

    def __init__(
        self, broker: Broker, queues: Sequence[Queue], accept: frozenset[str], limit: int
    ) -> None:
        """Make one.

        Args:
            accept: Content types.
            limit: Bytes; no body may unpack to more.
        """
        self.broker = broker
        self.accept = accept
        self.limit = limit
        self.consumed: tuple[Queue, ...] = tuple(queues)
        """What is consumed from, the first one first."""
        self.queues: tuple[str, ...] = tuple(queue.name for queue in queues)
        """Their names."""

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
