"""One-to-many traffic in the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from umbel.drivers.memory.subscription import Subscription
from umbel.routing.bindings import matches

__all__ = ["MemoryFanout", "MemoryTopics"]

_GATHERED = 10_000
"""Payloads a listener may be behind; beyond it the oldest are lost. Nothing is promised."""


class MemoryTopics:
    """Who listens to what; shared by all fanouts that are to meet. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # Guarded by the mutex.
        self._listeners: dict[Subscription[tuple[str, bytes]], Sequence[str]] = {}

    def join(self, listener: Subscription[tuple[str, bytes]], topics: Sequence[str]) -> None:
        """Tell the listener of what fits ``topics``."""
        with self._mutex:
            self._listeners[listener] = topics

    def leave(self, listener: Subscription[tuple[str, bytes]]) -> None:
        """No longer."""
        with self._mutex:
            self._listeners.pop(listener, None)

    def tell(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Say it to everyone who listens now."""
        with self._mutex:
            listeners = [
                listener
                for listener, patterns in self._listeners.items()
                if any(matches(pattern, topic) for pattern in patterns)
            ]
        for listener in listeners:
            listener.add([(topic, payload) for payload in payloads])


class MemoryFanout:
    """Implements ``umbel.protocols.Fanout``."""

    def __init__(self, topics: MemoryTopics) -> None:
        self._topics = topics

    async def broadcast(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Tell everyone who listens now."""
        self._topics.tell(topic, payloads)

    @asynccontextmanager
    async def listen(
        self, topics: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[list[tuple[str, bytes]]]]:
        """Everything broadcast from the moment the context is entered, in batches."""
        listener: Subscription[tuple[str, bytes]] = Subscription(limit=_GATHERED)
        self._topics.join(listener, tuple(topics))
        try:
            yield listener
        finally:
            self._topics.leave(listener)
