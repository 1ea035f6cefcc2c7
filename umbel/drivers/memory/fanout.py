"""Traffic beside the tasks, in the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from umbel.drivers.memory.subscription import Subscription
from umbel.exceptions import BrokerUnavailable
from umbel.model import Exchange, Message, Queue
from umbel.routing.bindings import Bindings, ways_into

__all__ = ["MemoryFanout", "MemoryTopics"]

_GATHERED = 10_000
"""Messages a listener may be behind; beyond it the oldest are lost. Nothing is promised."""


class MemoryTopics:
    """Who listens to what; shared by all fanouts that are to meet. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # Guarded by the mutex.
        self._listeners: dict[Subscription[Message], Bindings] = {}

    def join(self, listener: Subscription[Message], queues: Sequence[Queue]) -> None:
        """Tell the listener of what reaches the queues."""
        with self._mutex:
            self._listeners[listener] = Bindings(
                way for queue in queues for way in ways_into(queue)
            )

    def leave(self, listener: Subscription[Message]) -> None:
        """No longer."""
        with self._mutex:
            self._listeners.pop(listener, None)

    def tell(self, exchange: str, message: Message) -> int:
        """Say it to everyone who listens now; how many those are."""
        key = message.routing_key
        with self._mutex:
            listeners = [
                listener
                for listener, bindings in self._listeners.items()
                if bindings.queues(exchange, key)
            ]
        for listener in listeners:
            listener.add([message])
        return len(listeners)


class MemoryFanout:
    """Implements ``umbel.protocols.Fanout``."""

    encloses = False

    def __init__(self, topics: MemoryTopics) -> None:
        self._topics = topics
        self._listeners: set[Subscription[Message]] = set()

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Whoever listens is told."""
        for listener in self._listeners:
            listener.fail(BrokerUnavailable("the fan-out was closed"))

    async def broadcast(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        """Tell everyone who listens now; how many those are."""
        count = 0
        for message in messages:
            count = self._topics.tell(exchange.name, message)
        return count

    @asynccontextmanager
    async def listen(self, queues: Sequence[Queue]) -> AsyncGenerator[AsyncIterator[list[Message]]]:
        """Everything sent from the moment the context is entered, in batches."""
        listener: Subscription[Message] = Subscription(limit=_GATHERED)
        self._topics.join(listener, queues)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._topics.leave(listener)
