"""Messages that wait in RabbitMQ, without a plug-in: Celery's topology, shared with Celery.

28 queues, one for each bit of the delay in seconds: queue ``n`` keeps a message for 2^n seconds
and passes it on to exchange ``n - 1``. An exchange looks at its bit in the routing key
(``0.0.1. … .key``) and chooses between its queue and the next exchange. At the end stands the
exchange ``celery_delayed_delivery``, which knows by the rest of the key where to.

What we send enters at the highest level that keeps it (Celery's messages enter at the top). It
says as its key ``<bits>.<queue>.umbel``, and a binding that fits nothing else brings it to that
queue. (Celery's bindings are ``#.<key>`` and fit other keys with the same end.) What was for an
exchange waits for a last moment in a queue that passes it on to there.

Source:
    kombu 5.6, ``native_delayed_delivery``: names, types, arguments, bindings. Celery user guide,
    "Native Delayed Delivery".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from pamqp.base import Frame

from umbel.drivers.rabbitmq import marks
from umbel.drivers.rabbitmq.channel import ChannelClosed
from umbel.drivers.rabbitmq.methods import BindExchange, BindQueue, DeclareExchange, DeclareQueue
from umbel.drivers.rabbitmq.topology import Topology
from umbel.exceptions import (
    BrokerUnavailable,
    EncodeError,
    OperationalError,
    QueueConflict,
    QueueNotFound,
)
from umbel.model import Exchange, Message, Queue
from umbel.protocols import Clock
from umbel.routing.expiry import drop_time

__all__ = ["DELIVERY_EXCHANGE", "Delays"]

DELIVERY_EXCHANGE = f"{marks.DELAYING}delivery"
_LEVELS = 28
_LONGEST = (1 << _LEVELS) - 1
"""Seconds: eight and a half years."""
_SHORTEST = 1.0
_LONGEST_KEY = 255
_ANY_DELAY = "*." * _LEVELS
_NOT_FOUND, _CONFLICT = 404, 406


class Delays:
    """Sends messages on the way that takes as long as they must wait.

    Args:
        queue_type: ``quorum`` or ``classic``: of the 28 queues, if they do not exist yet.
    """

    def __init__(self, topology: Topology, clock: Clock, *, queue_type: str) -> None:
        self._topology = topology
        self._clock = clock
        self._queue_type = queue_type
        self._is_ready = False
        self._bound: set[tuple[str, str]] = set()
        """Exchange and key of what can be delivered to on this connection."""

    def forget(self) -> None:
        """The connection is gone, and with it the certainty that anything exists."""
        self._is_ready = False
        self._bound.clear()

    async def wrap(self, messages: Sequence[Message]) -> tuple[list[Message], dict[int, Exception]]:
        """The messages as they must be published: those not due yet, for their detour; and why
        some cannot be, by index.

        What is due in less than a second goes straight to its queue; whoever gets it holds it.

        Raises:
            BrokerUnavailable: No connection, or it broke.
        """
        now = self._clock.time()
        wrapped: list[Message] = []
        refused: dict[int, Exception] = {}
        for index, message in enumerate(messages):
            due = message.not_before
            if due is None or due <= now:
                wrapped.append(message)
                continue
            try:
                wrapped.append(await self._defer(message, due, due - now))
            except BrokerUnavailable:
                raise
            except (EncodeError, OperationalError, QueueConflict, QueueNotFound) as exc:
                refused[index] = exc
        return wrapped, refused

    async def again(self, message: Message, queue: str, due: float, attempts: int) -> Message:
        """A message that was handed out, for its way back to its queue.

        Args:
            due: Unix seconds.
            attempts: How often it has been handed out.
        """
        return await self._defer(
            msgspec.structs.replace(message, exchange="", routing_key=queue),
            due,
            due - self._clock.time(),
            attempts,
        )

    async def bind(self, queues: Sequence[Queue]) -> None:
        """Let what Celery's clients delay reach these queues, as Celery's workers do.

        They only delay where quorum queues are in use, and never for direct exchanges.
        """
        if not any(queue.queue_arguments.get("x-queue-type") == "quorum" for queue in queues):
            return
        methods: list[Frame] = []
        for queue in queues:
            for exchange, key in _ways(queue):
                if exchange.type != "direct" and exchange.name:
                    pattern = key if key.startswith("#") else f"#.{key}"
                    methods += (
                        _between(DELIVERY_EXCHANGE, exchange.name, pattern),
                        BindQueue(queue=queue.name, exchange=exchange.name, routing_key=pattern),
                    )
        if methods:
            await self._prepare()
            await self._topology.insist(*methods)

    async def _defer(
        self, message: Message, due: float, delay: float, attempts: int | None = None
    ) -> Message:
        expires_at = drop_time(message, message_ttl=None, now=due - delay)
        headers = marks.marked(message, due, expires_at=expires_at, attempts=attempts)
        exchange, key = message.exchange, message.routing_key
        end = f"{key}.umbel" if not exchange else f"{_relay_name(exchange, key)}.umbel"
        seconds = min(int(delay), _LONGEST)
        way = f"{'.'.join(f'{seconds:0{_LEVELS}b}')}.{end}"
        if delay >= _SHORTEST and len(way.encode(errors="replace")) <= _LONGEST_KEY:
            await self._connect(exchange, key, end)
            # The levels above look at zeros only, and each of them takes its time.
            exchange, key = _level_name(seconds.bit_length() - 1), way
            # On the way it would be taken for the time to wait; the mark says it at the end.
            message = msgspec.structs.replace(message, expires_at=None)
        return msgspec.structs.replace(message, headers=headers, exchange=exchange, routing_key=key)

    async def _connect(self, exchange: str, key: str, end: str) -> None:
        """Make sure that what comes out at the end reaches its queue, or its exchange."""
        if (exchange, key) in self._bound and (exchange or self._topology.is_there(key)):
            return
        if not await self._topology.exists(exchange):
            raise OperationalError(f"there is no exchange {exchange!r}")
        await self._prepare()
        methods: list[Frame] = []
        queue = key
        if exchange:
            queue = _relay_name(exchange, key)
            methods.append(
                DeclareQueue(
                    queue=queue,
                    durable=True,
                    arguments={
                        "x-message-ttl": 0,
                        "x-dead-letter-exchange": exchange,
                        "x-dead-letter-routing-key": key,
                    },
                )
            )
        else:
            await self._topology.ensure([queue])
        methods.append(
            BindQueue(queue=queue, exchange=DELIVERY_EXCHANGE, routing_key=_ANY_DELAY + end)
        )
        try:
            await self._topology.call(*methods)
        except ChannelClosed as exc:
            if exc.code != _NOT_FOUND or exchange:
                raise self._topology.refused(exc) from exc
            # Deleted since somebody last looked.
            self._topology.miss(queue)
            await self._topology.ensure([queue])
            await self._topology.insist(*methods)
        self._bound.add((exchange, key))

    async def _prepare(self) -> None:
        """Make the 28 levels exist, of whichever type they are already."""
        if self._is_ready:
            return
        try:
            await self._topology.call(*_declarations(self._queue_type))
        except ChannelClosed as exc:
            if exc.code != _CONFLICT:
                raise self._topology.refused(exc) from exc
            # They are there, made with the other type: by an app with another setting.
            other = "classic" if self._queue_type == "quorum" else "quorum"
            await self._topology.insist(*_declarations(other))
        self._is_ready = True


def _level_name(level: int) -> str:
    return f"{marks.DELAYING}{level}"


def _relay_name(exchange: str, key: str) -> str:
    digest = hashlib.sha256(f"{exchange}\0{key}".encode(errors="replace")).hexdigest()
    return f"umbel.delayed.{digest[:24]}"


def _between(source: str, destination: str, key: str) -> Frame:
    return BindExchange(source=source, destination=destination, routing_key=key)


def _ways(queue: Queue) -> list[tuple[Exchange, str]]:
    ways = [(binding.exchange, binding.routing_key) for binding in queue.bindings]
    if queue.exchange is not None:
        ways.insert(0, (queue.exchange, queue.key))
    return ways


def _declarations(queue_type: str) -> list[Frame]:
    methods: list[Frame] = []
    for level in range(_LEVELS - 1, -1, -1):
        name = _level_name(level)
        skipped = "*." * (_LEVELS - 1 - level)
        after = _level_name(level - 1) if level else DELIVERY_EXCHANGE
        arguments: dict[str, Any] = {
            "x-queue-type": queue_type,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**level * 1000,
            "x-dead-letter-exchange": after,
        }
        if queue_type == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        methods += (
            DeclareExchange(exchange=name, exchange_type="topic", durable=True),
            DeclareQueue(queue=name, durable=True, arguments=arguments),
            BindQueue(queue=name, exchange=name, routing_key=f"{skipped}1.#"),
        )
    methods.append(DeclareExchange(exchange=DELIVERY_EXCHANGE, exchange_type="topic", durable=True))
    for level in range(_LEVELS - 1, -1, -1):
        skipped = "*." * (_LEVELS - 1 - level)
        after = _level_name(level - 1) if level else DELIVERY_EXCHANGE
        methods.append(_between(_level_name(level), after, f"{skipped}0.#"))
    return methods
