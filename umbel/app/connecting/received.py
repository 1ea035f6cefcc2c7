"""Messages as kombu's consumers are given them, and what they are received with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self, cast

from umbel.model import Delivery
from umbel.routing.queues import as_queue
from umbel.serialization import json, registry
from umbel.serialization.compression import DEFAULT_LIMIT, decompress

__all__ = ["Consumer", "Received"]


class Received:
    """A message on loan, until it is acknowledged or rejected.

    Source:
        kombu reference, ``kombu.Message``: names.
    """

    def __init__(
        self,
        delivery: Delivery,
        settle: Callable[[Delivery, bool | None], object],
        accept: frozenset[str],
    ) -> None:
        """A message of ours.

        Args:
            settle: Acknowledges (None), drops (False) or gives back (True) a delivery.
            accept: The content types that may be read.
        """
        message = delivery.message
        self.delivery = delivery
        self.accept = accept
        self.body = message.body
        self.content_type = message.content_type
        self.content_encoding = message.content_encoding
        self.headers: dict[str, Any] = dict(json.loads(message.headers))  # type: ignore[call-overload]
        self.delivery_tag = delivery.tag
        self.delivery_info: dict[str, Any] = {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": message.priority,
            "redelivered": delivery.redelivered,
        }
        self.properties: dict[str, Any] = {
            **message.properties,
            "correlation_id": message.correlation_id,
            "reply_to": message.reply_to,
            "priority": message.priority,
            "delivery_info": self.delivery_info,
        }
        self._settle = settle
        self._state = "RECEIVED"
        self._decoded: Any = _UNREAD

    def __repr__(self) -> str:
        return f"<Message: {self.delivery.message.id} {self.delivery_info!r}>"

    @property
    def payload(self) -> Any:
        """The content.

        Raises:
            ContentDisallowed: Content of this kind is not accepted.
            DecodeError: It cannot be read.
        """
        if self._decoded is _UNREAD:
            self._decoded = self.decode()
        return self._decoded

    def decode(self) -> Any:
        """The content, read; see :attr:`payload`."""
        data, packed = self.body, self.headers.get("compression")
        if isinstance(packed, str):
            data = decompress(data, packed, limit=DEFAULT_LIMIT)
        return registry.loads(data, self.content_type, self.content_encoding, accept=self.accept)

    @property
    def acknowledged(self) -> bool:
        """Whether it is done with, one way or another."""
        return self._state != "RECEIVED"

    def ack(self, multiple: bool = False) -> None:
        """It is done with."""
        self._end("ACK", None)

    def reject(self, requeue: bool = False) -> None:
        """Drop it, or give it back."""
        self._end("REQUEUED" if requeue else "REJECTED", requeue)

    def requeue(self) -> None:
        """Give it back."""
        self.reject(requeue=True)

    def ack_log_error(self, logger: Any, errors: Any, multiple: bool = False) -> None:
        """It is done with; that is noted here, and cannot fail."""
        self.ack()

    def reject_log_error(self, logger: Any, errors: Any, requeue: bool = False) -> None:
        """Drop it, or give it back; that is noted here, and cannot fail."""
        self.reject(requeue)

    def _end(self, state: str, requeue: bool | None) -> None:
        if self.acknowledged:
            raise RuntimeError(f"Message already acknowledged with state: {self._state}")
        self._state = state
        self._settle(self.delivery, requeue)


_UNREAD = object()


class Consumer:
    """Receives messages of queues: where its channel is one of a worker's, by itself; elsewhere
    while somebody is in :meth:`Connection.drain_events`.

    Source:
        kombu reference, ``kombu.Consumer``: names, arguments.
    """

    def __init__(
        self,
        channel: Any,
        queues: Any = None,
        no_ack: bool | None = None,
        auto_declare: bool | None = None,
        callbacks: Iterable[Callable[[Any, Any], object]] | None = None,
        on_decode_error: Callable[[Any, Exception], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
        accept: Iterable[str] | None = None,
        prefetch_count: int | None = None,
        tag_prefix: str | None = None,
    ) -> None:
        """Be ready to receive.

        Args:
            channel: One of a connection, or a connection.
            callbacks: Called with the content and the message.
            on_message: Called with the message, instead of ``callbacks``.
            on_decode_error: Called with a message that cannot be read, and why.
            accept: The kinds of content that may be read: JSON, unless given.
            no_ack: Whether messages are done with when they are received; None: as the queue says.
        """
        self.channel = getattr(channel, "default_channel", channel)
        given = cast("Iterable[Any]", queues or ())
        if not isinstance(queues, list | tuple | set | None):
            given = (queues,)
        self.queues = [as_queue(queue) for queue in given]
        self.no_ack = no_ack
        self.callbacks = list(callbacks or ())
        self.on_decode_error = on_decode_error
        self.on_message = on_message
        self.accept = registry.content_types(accept or ("json", "text"))
        self.prefetch_count = prefetch_count

    def __repr__(self) -> str:
        return f"<Consumer: {[queue.name for queue in self.queues]}>"

    def __enter__(self) -> Self:
        self.consume()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    @property
    def connection(self) -> Any:
        """That of its channel."""
        return self.channel.connection

    def revive(self, channel: Any) -> None:
        """Use another channel, or connection, from the next :meth:`consume` on."""
        self.channel = getattr(channel, "default_channel", channel)

    def declare(self) -> None:
        """Make its queues exist; receiving does that, too."""
        for queue in self.queues:
            self.channel.declare(queue)

    def register_callback(self, callback: Callable[[Any, Any], object]) -> None:
        """Call this one, too."""
        self.callbacks.append(callback)

    def add_queue(self, queue: Any) -> Any:
        """Receive from one more queue, from the next :meth:`consume` on."""
        self.queues.append(as_queue(queue))
        return queue

    def consuming_from(self, queue: Any) -> bool:
        """Whether it receives from a queue."""
        name = queue if isinstance(queue, str) else queue.name
        return any(each.name == name for each in self.queues)

    def cancel_by_queue(self, queue: str) -> None:
        """Receive no more from a queue."""
        self.cancel()
        self.queues = [each for each in self.queues if each.name != queue]
        if self.queues:
            self.consume()

    def purge(self) -> int:
        """Drop every message of its queues that nobody holds; returns how many."""
        return sum(self.channel.queue_purge(queue.name) for queue in self.queues)

    def consume(self, no_ack: bool | None = None) -> None:
        """Begin to receive."""
        if no_ack is not None:
            self.no_ack = no_ack
        self.channel.consume(self)

    def cancel(self) -> None:
        """Receive no more."""
        self.channel.cancel(self)

    close = cancel

    def qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """How many messages to have at a time."""
        self.prefetch_count = prefetch_count

    def _is_done_with(self, queue: str) -> bool:
        """Whether a message of that queue is done with when it is received."""
        if self.no_ack is not None:
            return self.no_ack
        return any(each.no_ack for each in self.queues if each.name == queue)

    def receive(self, body: Any, message: Any) -> None:
        """Have the callbacks called."""
        for callback in self.callbacks:
            callback(body, message)

    def take(self, message: Received) -> None:
        """Have somebody see to a message."""
        if self._is_done_with(message.delivery.queue):
            message.ack()
        if self.on_message is not None:
            self.on_message(message)
            return
        try:
            body = message.payload
        except Exception as error:
            if self.on_decode_error is None:
                raise
            self.on_decode_error(message, error)
            return
        self.receive(body, message)
