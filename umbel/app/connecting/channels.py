"""What producers and consumers are made with, and what asks queues, under kombu's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from msgspec.structs import replace

from umbel.app.connecting.received import Consumer, Received
from umbel.app.sending.ids import new_id
from umbel.exceptions import OperationalError, UmbelError
from umbel.model import Binding, Exchange, Queue
from umbel.routing.queues import as_exchange, as_queue
from umbel.serialization import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.app.connecting.messaging import Connection

__all__ = ["BoundExchange", "BoundQueue", "Channel", "QueueDeclared"]


class QueueDeclared(NamedTuple):
    """What declaring a queue tells."""

    queue: str
    message_count: int
    """Messages that are ready."""
    consumer_count: int
    """Where the broker knows: RabbitMQ; elsewhere 0."""


class Channel:
    """A way to queues. Several are one connection; they are told apart by nothing but themselves.

    Source:
        kombu reference, ``kombu.transport.virtual.Channel``: names, arguments.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._consumer_by_tag: dict[str, Consumer] = {}
        self._got: dict[str, Received] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Receive no more for its consumers."""
        for consumer in list(self._consumer_by_tag.values()):
            consumer.cancel()
        self._consumer_by_tag.clear()

    def consume(self, consumer: Consumer) -> None:
        """Receive for a consumer: :meth:`Connection.drain_events` hands it its messages."""
        self.connection.reader.serve(consumer)

    def cancel(self, consumer: Consumer) -> None:
        """Receive no more for it."""
        self.connection.dismiss(consumer)

    def bound(self, queue: Queue) -> BoundQueue:
        """A queue, as this channel reaches it."""
        return BoundQueue(queue, self)

    def bound_exchange(self, exchange: Exchange) -> BoundExchange:
        """An exchange, as this channel reaches it."""
        return BoundExchange(exchange, self)

    # -- queues

    def declare(self, queue: Queue) -> None:
        """Make a queue and its bindings exist.

        Raises:
            QueueConflict: There is one of that name that is different.
        """

        async def declare() -> None:
            await (await self.connection.app.connections.broker()).declare([queue])

        self.connection.app.portal.call(declare)

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> QueueDeclared:
        """Make a queue exist, and say how full it is.

        Args:
            passive: Only see whether it exists; brokers but RabbitMQ have every queue.

        Raises:
            ChannelError: RabbitMQ has no such queue, or a different one.
        """
        name = queue or f"amq.gen-{new_id()}"
        if self.connection.transport.driver_type == "amqp" and passive:
            found = self.connection.ask(
                lambda console: console.declare_queue(
                    name, passive=True, durable=durable, auto_delete=auto_delete
                )
            )
            return QueueDeclared(found.queue, found.messages, found.consumers)
        if not passive:
            made = Queue(
                name,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                queue_arguments=arguments or {},
            )
            self.declare(made)
        return QueueDeclared(name, self._ready(name), 0)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Let what is sent to an exchange come to a queue."""
        way = as_exchange(exchange)
        if way is not None:
            self.declare(Queue(queue, bindings=(Binding(way, routing_key, arguments or {}),)))

    def queue_purge(self, queue: str, **_: Any) -> int:
        """Drop every message that nobody holds; returns how many."""

        async def purge() -> int:
            return await (await self.connection.app.connections.broker()).purge([queue])

        return self.connection.app.portal.call(purge)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any
    ) -> int:
        """Drop a queue with its messages; returns how many.

        Brokers but RabbitMQ have no queues without messages: there it is emptied.
        """
        if self.connection.transport.driver_type == "amqp":
            dropped: int = self.connection.ask(
                lambda console: console.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)
            )
            return dropped
        if if_empty and self._ready(queue):
            return 0
        return self.queue_purge(queue)

    def _ready(self, queue: str) -> int:
        async def count() -> int:
            broker = await self.connection.app.connections.broker()
            return (await broker.stats([queue]))[queue].ready

        return self.connection.app.portal.call(count)

    # -- messages

    def basic_get(
        self, queue: str, no_ack: bool = False, accept: Any = None, **_: Any
    ) -> Received | None:
        """Take a message, if there is one."""
        message = self.connection.reader.get(
            queue, registry.content_types(accept or ("json", "text"))
        )
        if message is not None:
            if no_ack:
                message.ack()
            else:
                self._got[message.delivery_tag] = message
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message that :meth:`basic_get` gave here."""
        self._take_back(delivery_tag).ack()

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message that :meth:`basic_get` gave here, or give it back."""
        self._take_back(delivery_tag).reject(requeue)

    def _take_back(self, tag: str) -> Received:
        try:
            return self._got.pop(tag)
        except KeyError:
            raise UmbelError(
                f"there is no message {tag!r} to settle: this channel has not got it, or has "
                "settled it before"
            ) from None

    def basic_consume(
        self,
        queue: str | Queue,
        no_ack: bool = False,
        callback: Callable[[Any], object] | None = None,
        consumer_tag: str | None = None,
        **_: Any,
    ) -> str:
        """Receive from a queue; returns what :meth:`basic_cancel` takes."""
        tag = consumer_tag or new_id()
        source = queue if isinstance(queue, Queue) else Queue(queue)
        consumer = Consumer(self, source, no_ack=no_ack, on_message=callback)
        self._consumer_by_tag[tag] = consumer
        consumer.consume()
        return tag

    def basic_cancel(self, consumer_tag: str, **_: Any) -> None:
        """Receive no more."""
        consumer = self._consumer_by_tag.pop(consumer_tag, None)
        if consumer is not None:
            consumer.cancel()

    @property
    def client(self) -> Any:
        """Redis itself, by redis-py, which must be installed: ``client.llen("celery")``.

        Raises:
            AttributeError: The broker is another one.
        """
        if self.connection.transport.driver_type != "redis":
            raise AttributeError(f"{self.connection!r} has no Redis client")
        try:
            # An optional dependency: umbel itself speaks to Redis without it.
            import redis
        except ImportError as error:
            raise OperationalError(
                "channel.client is redis-py's client, which is not installed: pip install redis"
            ) from error
        client: Any = redis.Redis
        return client.from_url(self.connection.as_uri(include_password=True))


class BoundQueue:
    """A queue with a channel: ``queue(channel)``."""

    is_bound = True

    def __init__(self, queue: Queue, channel: Channel) -> None:
        if not queue.name:
            queue = replace(queue, name=f"amq.gen-{new_id()}", exclusive=True)
        self.queue = queue.unbound()
        self.channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)

    def __repr__(self) -> str:
        return f"<{self.queue!r} of {self.channel.connection!r}>"

    def declare(self, nowait: bool = False, channel: Any = None) -> str:
        """Make it and its bindings exist; returns its name."""
        if not self.queue.no_declare:
            self.channel.declare(self.queue)
            if self.queue.on_declared is not None:
                self.queue.on_declared(*self.channel.queue_declare(self.queue.name, passive=True))
        return self.queue.name

    def queue_declare(
        self, nowait: bool = False, passive: bool = False, channel: Any = None
    ) -> QueueDeclared:
        """Make it exist, and say how full it is."""
        if not passive:
            self.declare()
        return self.channel.queue_declare(self.queue.name, passive=True)

    def get(self, no_ack: bool | None = None, accept: Any = None) -> Received | None:
        """Take a message, if there is one."""
        silent = self.queue.no_ack if no_ack is None else no_ack
        return self.channel.basic_get(self.queue.name, no_ack=silent, accept=accept)

    def purge(self, nowait: bool = False) -> int:
        """Drop every message that nobody holds; returns how many."""
        return self.channel.queue_purge(self.queue.name)

    def delete(self, if_unused: bool = False, if_empty: bool = False, nowait: bool = False) -> int:
        """Drop it with its messages."""
        return self.channel.queue_delete(self.queue.name, if_unused, if_empty)

    def bind_to(
        self,
        exchange: Any = "",
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        nowait: bool = False,
        channel: Any = None,
    ) -> None:
        """Let what is sent to an exchange come to it."""
        way = as_exchange(exchange)
        if way is not None:
            binding = Binding(way, routing_key, arguments or {})
            self.channel.declare(Queue(self.queue.name, bindings=(binding,)))

    def consume(
        self,
        consumer_tag: str = "",
        callback: Callable[[Any], object] | None = None,
        no_ack: bool | None = None,
        nowait: bool = False,
    ) -> str:
        """Receive from it; ``callback`` is called with each message."""
        silent = self.queue.no_ack if no_ack is None else no_ack
        return self.channel.basic_consume(self.queue, silent, callback, consumer_tag or None)

    def cancel(self, consumer_tag: str) -> None:
        """Receive no more."""
        self.channel.basic_cancel(consumer_tag)


class BoundExchange:
    """An exchange with a channel: ``exchange(channel)``."""

    is_bound = True

    def __init__(self, exchange: Exchange, channel: Channel) -> None:
        self.exchange = exchange
        self.channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self.exchange, name)

    def __repr__(self) -> str:
        return f"<{self.exchange!r} of {self.channel.connection!r}>"

    def declare(self, nowait: bool = False, passive: bool = False, channel: Any = None) -> None:
        """Make it exist: where queues are bound to it, that is all there is to an exchange;
        RabbitMQ has exchanges without queues."""
        is_needed = bool(self.exchange.name) and not self.exchange.no_declare
        if is_needed and self.channel.connection.transport.driver_type == "amqp":
            self.channel.connection.ask(
                lambda console: console.declare_exchange(
                    self.exchange.name,
                    self.exchange.type,
                    passive=passive or self.exchange.passive,
                    durable=self.exchange.durable,
                    auto_delete=self.exchange.auto_delete,
                )
            )

    def delete(self, if_unused: bool = False, nowait: bool = False) -> None:
        """Have it exist no more, where it exists without queues: on RabbitMQ."""
        if self.channel.connection.transport.driver_type == "amqp":
            self.channel.connection.ask(
                lambda console: console.delete_exchange(self.exchange.name, if_unused=if_unused)
            )

    def publish(self, message: Any, routing_key: str | None = None, **options: Any) -> None:
        """Publish a message to it."""
        producer = self.channel.connection.Producer(self.channel, exchange=self.exchange)
        producer.publish(message, routing_key or "", **options)


def bound_queue(queue: Any, channel: Channel) -> BoundQueue:
    """A queue of ours, of one of kombu's, or of a name, with a channel."""
    return queue if isinstance(queue, BoundQueue) else BoundQueue(as_queue(queue), channel)
