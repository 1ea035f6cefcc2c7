"""What carries traffic beside the tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from umbel.model import Exchange, Message, Queue

__all__ = ["Fanout"]


class Fanout(Protocol):
    """Best-effort traffic: remote control and its replies, events. Nothing is kept.

    An instance belongs to one event loop. Every implementation passes
    ``umbel.testing.conformance.fanout``.

    Raises (all methods):
        BrokerUnavailable: No connection, after the driver's own reconnection gave up.
    """

    encloses: bool
    """Whether messages travel inside JSON, so that bodies may be
    :data:`umbel.wire.envelope.ENCLOSED`, which spares work."""

    async def open(self) -> None:
        """Connect. Idempotent."""

    async def close(self) -> None:
        """Disconnect; whoever listens is told, by ``BrokerUnavailable``. Idempotent."""

    async def broadcast(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        """Send the messages to whoever listens now to ``exchange`` and their routing keys.

        Returns:
            How many listeners the last message has found; None where that cannot be known.
        """
        ...

    def listen(
        self, queues: Sequence[Queue]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Message]]]:
        """Everything sent from the moment the context is entered, in batches.

        Who does not fetch them keeps the latest; the oldest are dropped. After a lost connection
        listening goes on by itself; what was sent meanwhile is lost.

        Args:
            queues: Their exchanges say what is heard: everything (``fanout``), what was sent to
                exactly the routing key (``direct``), or to a key that fits a pattern (``topic``:
                ``*`` one word, ``#`` any number).
        """
        ...
