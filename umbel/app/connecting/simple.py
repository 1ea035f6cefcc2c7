"""Queues with ``put`` and ``get``, under kombu's names.

Source:
    kombu reference, ``kombu.simple``.
"""

from __future__ import annotations

import time
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any, Self

from umbel.app.connecting.publishing import Producer
from umbel.app.connecting.received import Consumer, Received
from umbel.model import Exchange, Queue
from umbel.routing.queues import as_queue

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SimpleBuffer", "SimpleQueue"]


class SimpleQueue:
    """A queue that the broker keeps."""

    Empty = Empty
    no_ack = False
    durable = True

    def __init__(
        self,
        channel: Any,
        name: Any,
        no_ack: bool | None = None,
        queue_opts: Mapping[str, Any] | None = None,
        queue_args: Mapping[str, Any] | None = None,
        exchange_opts: Mapping[str, Any] | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        accept: Any = None,
    ) -> None:
        """Make the queue exist.

        Args:
            channel: A connection, or a channel of one.
            name: The queue's, or a queue.
            queue_opts: What :class:`~umbel.Queue` takes; ``queue_args``, its arguments.
            accept: The kinds of content that may be read: JSON, unless given.
        """
        queue = (
            name
            if not isinstance(name, str)
            else self._make(name, queue_opts or {}, queue_args or {}, exchange_opts or {})
        )
        self.no_ack = self.no_ack if no_ack is None else no_ack
        self.queue = as_queue(queue)
        self.consumer = Consumer(channel, self.queue, self.no_ack, accept=accept)
        self.consumer.on_message = self._keep
        self.channel = self.consumer.channel
        exchange = self.queue.exchange
        self.producer = Producer(
            self.channel, exchange, self.queue.key, serializer, None, compression
        )
        self.buffer: deque[Received] = deque()
        self._is_consuming = False
        self.consumer.declare()

    def _make(
        self, name: str, options: Mapping[str, Any], arguments: Mapping[str, Any], way: Any
    ) -> Queue:
        said: dict[str, Any] = {"type": "direct", "durable": self.durable, **way}
        exchange = Exchange(name, **said)
        given: dict[str, Any] = {"durable": self.durable, "queue_arguments": arguments, **options}
        return Queue(name, exchange, name, **given)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.queue.name}>"

    def __len__(self) -> int:
        return self.qsize()

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, block: bool = True, timeout: float | None = None) -> Received:
        """Take a message; to be acknowledged, unless ``no_ack``.

        Raises:
            Empty: There is none, or was none within ``timeout`` seconds.
        """
        if not block:
            return self.get_nowait()
        if not self._is_consuming:
            self._is_consuming = True
            self.consumer.consume()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.buffer:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self.channel.connection.drain_events(timeout=left)
            except TimeoutError:
                raise self.Empty from None
        return self.buffer.popleft()

    def get_nowait(self) -> Received:
        """Take a message.

        Raises:
            Empty: There is none.
        """
        if self._is_consuming:
            # What has been sent here is nobody else's.
            return self.get(timeout=0.0)
        message: Received | None = self.channel.basic_get(
            self.queue.name, self.no_ack, self.consumer.accept
        )
        if message is None:
            raise self.Empty
        return message

    def put(
        self,
        message: Any,
        serializer: str | None = None,
        headers: Mapping[str, Any] | None = None,
        compression: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Send a message; returns when the broker has it."""
        self.producer.publish(
            message,
            routing_key,
            serializer=serializer,
            headers=headers,
            compression=compression,
            **options,
        )

    def clear(self) -> int:
        """Drop every message that nobody holds; returns how many."""
        return self.consumer.purge()

    def qsize(self) -> int:
        """How many messages are ready."""
        count: int = self.channel.queue_declare(self.queue.name, passive=True).message_count
        return count

    def close(self) -> None:
        """Receive no more."""
        self.consumer.cancel()

    def _keep(self, message: Received) -> None:
        self.buffer.append(message)


class SimpleBuffer(SimpleQueue):
    """A queue whose messages are lost with the broker, and with who takes them."""

    no_ack = True
    durable = False

    def put(self, message: Any, serializer: str | None = None, **options: Any) -> None:  # type: ignore[override]
        """Send a message, which the broker need not write down."""
        said: dict[str, Any] = {"delivery_mode": "transient", **options}
        super().put(message, serializer, **said)
