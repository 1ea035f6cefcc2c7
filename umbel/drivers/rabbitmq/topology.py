"""Queues, exchanges and bindings, declared as Celery declares them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from pamqp import commands
from pamqp.base import Frame

from umbel.drivers.rabbitmq.channel import Channel, ChannelClosed, LinkLost, Reply
from umbel.drivers.rabbitmq.connection import Client
from umbel.drivers.rabbitmq.methods import (
    BindQueue,
    DeclareExchange,
    DeclareQueue,
    DeleteQueue,
    PurgeQueue,
)
from umbel.exceptions import EncodeError, OperationalError, QueueConflict
from umbel.model import Exchange, Queue

__all__ = ["YOUNG", "Topology", "arguments_of", "default_queue"]

YOUNG = 3.0
"""Seconds in which a RabbitMQ that is killed forgets that a queue was declared, or, of a quorum
queue, half of it: then whoever asks about that queue is never answered."""

_FORBIDDEN, _NOT_FOUND, _LOCKED, _CONFLICT = 403, 404, 405, 406
_OURS = "'umbel."
_RIGHTS = (
    ". The user needs the rights to configure, write and read what begins with 'umbel.': see "
    "rabbitmqctl set_permissions."
)
_LONGEST_NAME = 255


def default_queue(name: str) -> Queue:
    """What is made of a name that nobody has said anything about.

    Source:
        Celery user guide, Routing Tasks, "Automatic routing".
    """
    return Queue(name, Exchange(name), name)


def arguments_of(queue: Queue) -> dict[str, Any]:
    """The arguments a queue is declared with.

    >>> arguments_of(Queue("q", message_ttl=1.5, max_priority=10))
    {'x-message-ttl': 1500, 'x-max-priority': 10}
    """
    arguments: dict[str, Any] = {}
    if queue.expires is not None:
        arguments["x-expires"] = round(queue.expires * 1000)
    if queue.message_ttl is not None:
        arguments["x-message-ttl"] = round(queue.message_ttl * 1000)
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    if queue.max_length_bytes is not None:
        arguments["x-max-length-bytes"] = queue.max_length_bytes
    if queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    arguments.update(queue.queue_arguments)
    return arguments


class Topology:
    """Declares things on a channel of its own, which RabbitMQ closes at every refusal.

    Args:
        client: What it asks over, unless ``better`` is connected.
        make_queue: What is made of the name of a queue that does not exist.
        better: A client that publishes nothing, and so is answered also when RabbitMQ is short of
            memory.
    """

    def __init__(
        self,
        client: Client,
        make_queue: Callable[[str], Queue],
        *,
        better: Client | None = None,
    ) -> None:
        self._client = client
        self._better = better
        self._make_queue = make_queue
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self._queue_by_name: dict[str, Queue] = {}
        self._made: dict[str, Queue] = {}
        """Queues that did not exist, and nobody has said what they are like."""
        self._stations: dict[str, Queue] = {}
        self._existing: set[str] = set()
        """Queues that were there on this connection when somebody last looked."""
        self._exchanges: set[str] = set()

    def know(self, queue: Queue) -> None:
        """Say what a queue is like, for when it must exist."""
        self._queue_by_name[queue.name] = queue

    def forget(self) -> None:
        """The connection is gone, and with it the certainty that anything exists."""
        self._existing.clear()
        self._exchanges.clear()

    def is_there(self, queue: str) -> bool:
        """Whether a queue existed when somebody last looked."""
        return queue in self._existing

    def is_quorum(self, queue: str) -> bool | None:
        """Whether it is one; None: it was there before, and nobody has said."""
        known = self._queue_by_name.get(queue) or self._made.get(queue)
        return None if known is None else known.queue_arguments.get("x-queue-type") == "quorum"

    async def provide(self, name: str, to: str, *, lifetime: float, unused: float) -> None:
        """Make a queue exist whose messages RabbitMQ moves on when they grow old, or are rejected.

        It moves them from one classic queue to another also as it starts, and expired messages are
        moved first thing then. A quorum queue has no leader yet at that moment, and RabbitMQ drops
        what a classic one has for it ("leader not known. Command is dropped"); only what a quorum
        queue moves on "at least once" is sent until it has arrived.

        Args:
            to: Where they are moved; taken for a quorum queue unless we know better.
            lifetime: Seconds.
            unused: Seconds after which it is deleted, when nobody declares or consumes it.
        """
        made = self._stations.get(name)
        if made is not None:
            # What is known of the destination may have changed; this queue has not.
            await self.declare([made])
            return
        arguments: dict[str, object] = {
            "x-queue-type": "classic",
            "x-message-ttl": round(lifetime * 1000),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": to,
            "x-expires": round(unused * 1000),
        }
        if self.is_quorum(to) is not False:
            arguments |= {
                "x-queue-type": "quorum",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }
        station = Queue(name, queue_arguments=arguments)
        await self.declare([station])
        self._stations[name] = station

    def miss(self, queue: str) -> None:
        """A queue is not there any more."""
        self._existing.discard(queue)

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues and their bindings exist.

        Raises:
            QueueConflict: A queue or exchange of that name exists with other properties.
        """
        for queue in queues:
            self._queue_by_name[queue.name] = queue
            await self._declare(queue)

    async def ensure(self, queues: Sequence[str]) -> None:
        """Make queues exist that are consumed from or published to, known or not."""
        for name in queues:
            if name not in self._existing:
                await self._ensure(name)

    async def exists(self, exchange: str) -> bool:
        """Whether there is such an exchange."""
        if not exchange or exchange in self._exchanges:
            return True
        if len(exchange.encode(errors="replace")) > _LONGEST_NAME:
            return False
        try:
            await self.call(DeclareExchange(exchange=exchange, passive=True))
        except ChannelClosed as exc:
            if exc.code == _NOT_FOUND:
                return False
            raise self.refused(exc) from exc
        self._exchanges.add(exchange)
        return True

    def consumer_arguments(self, queue: str) -> dict[str, Any]:
        """What somebody has said of who consumes from a queue."""
        known = self._queue_by_name.get(queue)
        return dict(known.consumer_arguments) if known is not None else {}

    async def count(self, queue: str) -> int | None:
        """How many messages are ready in a queue; None when there is no such queue."""
        try:
            reply = await self.call(DeclareQueue(queue=queue, passive=True))
        except ChannelClosed as exc:
            if exc.code == _NOT_FOUND:
                self.miss(queue)
                return None
            raise self.refused(exc) from exc
        assert isinstance(reply, commands.Queue.DeclareOk)
        return reply.message_count

    async def delete(self, queue: str) -> None:
        """Make a queue not exist."""
        self.miss(queue)
        self._stations.pop(queue, None)
        await self.insist(DeleteQueue(queue=queue))

    async def purge(self, queue: str) -> int:
        """Drop what is ready in a queue; how many messages that was."""
        try:
            reply = await self.call(PurgeQueue(queue=queue))
        except ChannelClosed as exc:
            if exc.code == _NOT_FOUND:
                self.miss(queue)
                return 0
            raise self.refused(exc) from exc
        assert isinstance(reply, commands.Queue.PurgeOk)
        return reply.message_count or 0

    async def call(self, *methods: Frame) -> Reply:
        """Send methods in one write; the reply to the last one.

        Raises:
            ChannelClosed: RabbitMQ refused one of them.
            BrokerUnavailable: No connection, or it broke.
        """
        # One at a time: a refusal closes the channel under everyone who uses it.
        async with self._turn:
            better = self._better
            client = better if better is not None and better.connected else self._client
            link = await client.link()
            try:
                channel = self._channel
                if channel is None or channel.closed is not None or channel.link is not link:
                    channel = self._channel = await link.channel()
                return await channel.call(*methods)
            except LinkLost as exc:
                raise client.lost(exc) from exc

    async def insist(self, *methods: Frame) -> Reply:
        """:meth:`call`, where a refusal is nobody's business but the caller's caller's.

        Raises:
            OperationalError: RabbitMQ refused one of them; says which, and why.
        """
        try:
            return await self.call(*methods)
        except ChannelClosed as exc:
            raise self.refused(exc) from exc

    async def _ensure(self, name: str) -> None:
        known = self._queue_by_name.get(name)
        if known is None:
            if await self.count(name) is not None:
                self._existing.add(name)
                return
            known = self._made[name] = self._make_queue(name)
        await self._declare(known)

    async def _declare(self, queue: Queue) -> None:
        name = queue.name
        if len(name.encode(errors="replace")) > _LONGEST_NAME:
            raise EncodeError(f"AMQP has no queue names of more than 255 bytes: {name!r:.60}…")
        ways = [
            (binding.exchange, binding.routing_key, binding.arguments) for binding in queue.bindings
        ]
        if queue.exchange is not None:
            ways.insert(0, (queue.exchange, queue.key, queue.binding_arguments))
        if queue.no_declare:
            await self._find(name)
            return
        methods: list[Frame] = [
            DeclareQueue(
                queue=name,
                durable=queue.durable,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                arguments=arguments_of(queue),
            )
        ]
        declared: set[str] = set()
        for exchange, key, arguments in ways:
            if not exchange.name:
                continue
            is_declared = exchange.name in declared or exchange.no_declare
            if not is_declared and not exchange.name.startswith("amq."):
                methods.append(declaration_of(exchange))
            declared.add(exchange.name)
            methods.append(
                BindQueue(
                    queue=name,
                    exchange=exchange.name,
                    routing_key=key,
                    arguments=cast("dict[str, Any]", arguments),
                )
            )
        try:
            await self.call(*methods)
        except ChannelClosed as exc:
            if exc.code in {_CONFLICT, _LOCKED}:
                raise QueueConflict(
                    f"queue {name!r} cannot be declared as asked: {exc}. Delete what exists, or "
                    f"say the same of it in task_queues[{name!r}]."
                ) from exc
            raise self.refused(exc) from exc
        self._existing.add(name)
        self._exchanges |= declared

    async def _find(self, name: str) -> None:
        if await self.count(name) is None:
            raise OperationalError(
                f"queue {name!r} is said to exist (no_declare=True), and RabbitMQ has none of that "
                "name. Make it, or drop no_declare."
            )
        self._existing.add(name)

    def refused(self, exc: ChannelClosed) -> Exception:
        """What callers see when RabbitMQ closed the channel over something."""
        hint = _RIGHTS if exc.code == _FORBIDDEN and _OURS in str(exc) else ""
        return OperationalError(str(self._client.failure(f"refuses: {exc}")) + hint)


def declaration_of(exchange: Exchange) -> Frame:
    """The method that makes an exchange exist."""
    return DeclareExchange(
        exchange=exchange.name,
        exchange_type=exchange.type,
        passive=exchange.passive,
        durable=exchange.durable,
        auto_delete=exchange.auto_delete,
        arguments=cast("dict[str, Any]", exchange.arguments),
    )
