"""Queues, exchanges and bindings, under kombu's public names.

Source:
    kombu reference, ``kombu.Queue``, ``kombu.Exchange``, ``kombu.binding``: arguments, their order,
    what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from umbel.exceptions import NotBoundError

__all__ = ["Binding", "Exchange", "Queue", "QueueStats"]

_DELIVERY_MODES = {"transient": 1, "persistent": 2}


def _fill(entity: msgspec.Struct, *fields: str) -> None:
    """Have no arguments where a program gives None for them."""
    for field in fields:
        if getattr(entity, field) is None:
            force_setattr(entity, field, {})


class Exchange(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Where messages are sent to, when not straight to a queue."""

    name: str = ""
    type: str = ""
    """``direct``, which is the default, ``topic``, ``fanout`` or ``headers``."""
    channel: Any = None
    """The channel, or the connection, over which :meth:`declare` and the like go."""
    arguments: Mapping[str, object] = {}
    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | str | None = None
    """1 or ``"transient"``, 2 or ``"persistent"``; kept as a number."""
    passive: bool = False
    """It is expected to exist, and never made."""
    no_declare: bool = False
    """It is neither made nor looked for."""

    def __post_init__(self) -> None:
        if not self.type:
            force_setattr(self, "type", "direct")
        _fill(self, "arguments")
        if isinstance(self.delivery_mode, str):
            mode = _DELIVERY_MODES.get(self.delivery_mode)
            if mode is None:
                known = " or ".join(map(repr, _DELIVERY_MODES))
                raise ValueError(f"delivery_mode={self.delivery_mode!r}: expected {known}")
            force_setattr(self, "delivery_mode", mode)

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __call__(self, channel: Any) -> Any:
        """It, as a channel (or the one of a connection) reaches it: a ``BoundExchange``."""
        return getattr(channel, "default_channel", channel).bound_exchange(self)

    bind = __call__

    @property
    def is_bound(self) -> bool:
        """Whether it was made with a channel."""
        return self.channel is not None

    def binding(
        self,
        routing_key: str = "",
        arguments: Mapping[str, object] | None = None,
        unbind_arguments: Mapping[str, object] | None = None,
    ) -> Binding:
        """A way from it into a queue."""
        return Binding(self, routing_key, arguments or {}, unbind_arguments or {})

    def declare(
        self, nowait: bool = False, passive: bool | None = None, channel: Any = None
    ) -> None:
        """Make it exist.

        Raises:
            NotBoundError: It was made without a channel, and none is given.
        """
        _bound(self, channel).declare(passive=self.passive if passive is None else passive)

    def publish(self, message: Any, routing_key: str | None = None, **options: Any) -> None:
        """Publish a message to it, over its channel."""
        _bound(self, None).publish(message, routing_key, **options)

    def delete(self, if_unused: bool = False, nowait: bool = False) -> None:
        """Have it exist no more."""
        _bound(self, None).delete(if_unused=if_unused)


class Binding(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One more way into a queue: kombu's ``binding``."""

    exchange: Exchange = Exchange()
    routing_key: str = ""
    arguments: Mapping[str, object] = {}
    unbind_arguments: Mapping[str, object] = {}

    def __post_init__(self) -> None:
        # Any: what programs may give, whatever the field's type says.
        exchange: Any = self.exchange
        if isinstance(exchange, str):
            force_setattr(self, "exchange", Exchange(exchange))
        _fill(self, "arguments", "unbind_arguments")

    def __hash__(self) -> int:
        return hash((self.exchange, self.routing_key))


class Queue(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Where messages wait. Without an exchange it is reached by its own name."""

    name: str = ""
    """Empty: the broker gives it one when it is declared."""
    exchange: Exchange | None = None
    """An exchange or its name; several :class:`Binding` are taken for ``bindings``."""
    routing_key: str = ""
    """Empty: the queue's name."""
    channel: Any = None
    """The channel, or the connection, over which :meth:`declare`, :meth:`get` and the like go."""
    bindings: tuple[Binding, ...] = ()
    """More ways in, beside ``exchange`` and ``routing_key``."""
    on_declared: Callable[..., object] | None = None
    """Called with its name, its messages and its consumers when it has been declared."""
    durable: bool = True
    exclusive: bool = False
    """Of one connection alone; implies ``auto_delete``."""
    auto_delete: bool = False
    expires: float | None = None
    """Seconds without a consumer after which the queue may go."""
    message_ttl: float | None = None
    """Seconds a message may wait."""
    max_length: int | None = None
    max_length_bytes: int | None = None
    """How many bytes of messages it may hold; on RabbitMQ."""
    max_priority: int | None = None
    queue_arguments: Mapping[str, object] = {}
    alias: str | None = None
    """Another name to select it by, and to send to it by; it is the exchange that is meant."""
    binding_arguments: Mapping[str, object] = {}
    """Of the way in by ``exchange``; for ``headers`` exchanges, what headers must say."""
    consumer_arguments: Mapping[str, object] = {}
    """Of who consumes from it; on RabbitMQ, for example ``x-priority``."""
    no_ack: bool = False
    """Messages count as done when they are received. Of consumers of one's own: workers always
    acknowledge."""
    no_declare: bool = False
    """It is never made: it must exist."""

    def __post_init__(self) -> None:
        # Any: what programs may give, whatever the field's type says.
        exchange: Any = self.exchange
        given: Any = self.bindings
        if isinstance(exchange, str):
            force_setattr(self, "exchange", Exchange(exchange) if exchange else None)
        elif isinstance(exchange, list | tuple | set | frozenset):
            given = [*(given or ()), *exchange]
            force_setattr(self, "exchange", None)
        force_setattr(self, "bindings", tuple(given or ()))
        _fill(self, "queue_arguments", "binding_arguments", "consumer_arguments")
        if self.exclusive and not self.auto_delete:
            force_setattr(self, "auto_delete", True)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def key(self) -> str:
        """The routing key it is reached by."""
        return self.routing_key or self.name

    def __call__(self, channel: Any) -> Any:
        """It, as a channel (or the one of a connection) reaches it: a ``BoundQueue``."""
        return getattr(channel, "default_channel", channel).bound(self)

    bind = __call__

    @property
    def is_bound(self) -> bool:
        """Whether it was made with a channel."""
        return self.channel is not None

    def unbound(self) -> Queue:
        """It, without a channel."""
        return self if self.channel is None else replace(self, channel=None)

    # -- over its channel

    def declare(self, nowait: bool = False, channel: Any = None) -> str:
        """Make it and its bindings exist; returns its name.

        Raises:
            NotBoundError: It was made without a channel, and none is given.
        """
        name: str = _bound(self, channel).declare()
        return name

    def queue_declare(
        self, nowait: bool = False, passive: bool = False, channel: Any = None
    ) -> Any:
        """Make it exist; returns name, number of messages, number of consumers."""
        return _bound(self, channel).queue_declare(passive=passive)

    def get(self, no_ack: bool | None = None, accept: Any = None) -> Any:
        """Take a message, if there is one."""
        return _bound(self, None).get(no_ack, accept)

    def purge(self, nowait: bool = False) -> int:
        """Drop every message that nobody holds; returns how many."""
        count: int = _bound(self, None).purge()
        return count

    def delete(self, if_unused: bool = False, if_empty: bool = False, nowait: bool = False) -> int:
        """Drop it with its messages; returns how many."""
        count: int = _bound(self, None).delete(if_unused, if_empty)
        return count

    def consume(
        self,
        consumer_tag: str = "",
        callback: Callable[[Any], object] | None = None,
        no_ack: bool | None = None,
        nowait: bool = False,
        on_cancel: Callable[..., object] | None = None,
    ) -> str:
        """Receive from it; ``callback`` is called with each message. Returns the tag."""
        tag: str = _bound(self, None).consume(consumer_tag, callback, no_ack)
        return tag

    def cancel(self, consumer_tag: str) -> None:
        """Receive no more."""
        _bound(self, None).cancel(consumer_tag)

    def bind_to(
        self,
        exchange: Any = "",
        routing_key: str = "",
        arguments: Mapping[str, object] | None = None,
        nowait: bool = False,
        channel: Any = None,
    ) -> None:
        """Let what is sent to an exchange come to it."""
        _bound(self, channel).bind_to(exchange, routing_key, arguments)


def _bound(entity: Exchange | Queue, channel: Any) -> Any:
    over = entity.channel if channel is None else channel
    if over is None:
        kind = type(entity).__name__
        raise NotBoundError(
            f"{entity!r} has no channel to go over: make it with {kind}(…, channel=…), or call "
            f"{kind.lower()}(channel)"
        )
    return entity(over)


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How full a queue is; for people, not for decisions."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
