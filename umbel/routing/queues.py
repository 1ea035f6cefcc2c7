"""Queues as they are configured: ours, kombu's own objects, mappings, names.

Source:
    Celery user guide, Routing Tasks; reference, ``celery.app.amqp.Queues``: names, arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from msgspec.structs import replace

from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.model import Binding, Exchange, Queue

__all__ = ["Queues", "as_exchange", "as_queue", "queue_from_dict", "type_arguments"]

_NOTHING: Mapping[str, Any] = {}

_FIELD_BY_OPTION = {
    **{name: name for name in ("durable", "exclusive", "auto_delete", "expires", "message_ttl")},
    **{name: name for name in ("max_length", "max_length_bytes", "max_priority", "alias")},
    **{name: name for name in ("routing_key", "no_ack", "no_declare", "on_declared")},
    **{name: name for name in ("queue_arguments", "binding_arguments", "consumer_arguments")},
    **{f"queue_{name}": name for name in ("durable", "exclusive", "auto_delete", "expires")},
    **{f"queue_{name}": name for name in ("message_ttl", "max_length", "max_length_bytes")},
    "queue_max_priority": "max_priority",
    "binding_key": "routing_key",
}
"""What a queue's mapping may say, and which field of a queue it is."""

_EXCHANGE_FIELD_BY_OPTION = {
    "exchange_type": "type",
    "exchange_durable": "durable",
    "exchange_auto_delete": "auto_delete",
    "exchange_arguments": "arguments",
    "exchange_passive": "passive",
    "delivery_mode": "delivery_mode",
}

_UNUSED = frozenset({"passive"})
"""Accepted, as Celery does: queues have no such thing."""


def as_exchange(exchange: Any) -> Exchange | None:
    """An exchange of ours, of one of kombu's or of a name; None for one without a name."""
    if exchange is None or isinstance(exchange, Exchange):
        return exchange if exchange is not None and exchange.name else None
    if isinstance(exchange, str):
        return Exchange(exchange) if exchange else None
    if not exchange.name:
        return None
    return Exchange(
        str(exchange.name),
        str(exchange.type or "direct"),
        passive=bool(getattr(exchange, "passive", False)),
        no_declare=bool(getattr(exchange, "no_declare", False)),
        durable=bool(exchange.durable),
        auto_delete=bool(exchange.auto_delete),
        delivery_mode=exchange.delivery_mode,
        arguments=exchange.arguments or _NOTHING,
    )


def as_queue(queue: Any) -> Queue:
    """A queue of ours, of one of kombu's or of a name.

    Raises:
        ImproperlyConfigured: It is none of these.

    >>> as_queue("mail").exchange
    Exchange(name='mail', type='direct')
    """
    if isinstance(queue, Queue):
        return queue.unbound()
    if isinstance(queue, str):
        return Queue(queue, Exchange(queue), queue)
    if not hasattr(queue, "name") or not hasattr(queue, "exchange"):
        raise ImproperlyConfigured(f"{queue!r} is not a queue: expected a name or a Queue")
    given = {
        name: getattr(queue, name)
        for name in (
            *("durable", "exclusive", "auto_delete", "expires", "message_ttl", "max_length"),
            *("max_length_bytes", "max_priority", "alias", "queue_arguments", "no_ack"),
            *("binding_arguments", "consumer_arguments", "no_declare", "on_declared"),
        )
        if getattr(queue, name, None) is not None
    }
    return Queue(
        str(queue.name),
        as_exchange(queue.exchange),
        str(getattr(queue, "routing_key", None) or ""),
        bindings=_bindings(getattr(queue, "bindings", None) or ()),
        **given,
    )


def queue_from_dict(name: str, options: Mapping[str, Any]) -> Queue:
    """A queue of a mapping, in the form of ``task_queues = {name: options}``.

    Raises:
        ImproperlyConfigured: There is an option that queues do not have.

    >>> queue_from_dict("logs", {"exchange": "log", "exchange_type": "topic"}).exchange.type
    'topic'
    """
    fields: dict[str, Any] = {}
    exchange_fields: dict[str, Any] = {}
    for option, value in options.items():
        if option in _FIELD_BY_OPTION:
            fields[_FIELD_BY_OPTION[option]] = value
        elif option in _EXCHANGE_FIELD_BY_OPTION:
            exchange_fields[_EXCHANGE_FIELD_BY_OPTION[option]] = value
        elif option == "bindings":
            fields["bindings"] = _bindings(value)
        elif option not in _UNUSED and option != "exchange":
            known = ", ".join(sorted({*_FIELD_BY_OPTION, *_EXCHANGE_FIELD_BY_OPTION, "exchange"}))
            raise ImproperlyConfigured(
                f"the queue {name!r} in task_queues has the option {option!r}; queues have {known}"
            )
    fields["routing_key"] = fields.get("routing_key") or name
    exchange = as_exchange(options.get("exchange"))
    given = {field: value for field, value in exchange_fields.items() if value is not None}
    if exchange is not None and given:
        exchange = replace(exchange, **given)
    present = {field: value for field, value in fields.items() if value is not None}
    return Queue(name, exchange, **present)


def _bindings(bindings: Iterable[Any]) -> tuple[Binding, ...]:
    made: list[Binding] = []
    for binding in bindings:
        exchange = as_exchange(binding.exchange)
        if exchange is not None:
            key = str(binding.routing_key or "")
            made.append(Binding(exchange, key, binding.arguments or _NOTHING))
    # kombu keeps them in a set: every process is to declare them in the same order.
    return tuple(sorted(made, key=lambda one: (one.exchange.name, one.routing_key)))


class Queues(dict[str, Queue]):
    """The queues that an app knows, by name; and those of them that workers consume from.

    A queue that is not there is made when it is asked for, unless ``create_missing`` is off.
    """

    def __init__(
        self,
        queues: Any = None,
        default_exchange: Any = None,
        create_missing: bool = True,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Callable[[str], Any] | None = None,
        max_priority: int | None = None,
        default_routing_key: str | None = None,
    ) -> None:
        """Know some queues.

        Args:
            queues: A mapping of options or of queues by name; or queues.
            default_exchange: That of queues which name none.
            create_missing_queue_type: ``"quorum"``, or RabbitMQ's default.
            create_missing_queue_exchange_type: ``"direct"`` unless given.
            autoexchange: Gives the exchange of a queue that is made, by its name.
            max_priority: Of queues that say nothing of it.
            default_routing_key: That of queues which name none.
        """
        super().__init__()
        self.aliases: dict[str, Queue] = {}
        self.default_exchange = as_exchange(default_exchange)
        self.default_routing_key = default_routing_key
        self.create_missing = create_missing
        self.create_missing_queue_type = create_missing_queue_type
        self.create_missing_queue_exchange_type = create_missing_queue_exchange_type
        self.autoexchange = autoexchange
        self.max_priority = max_priority
        self._selected: dict[str, Queue] | None = None
        for name, queue in _items(queues):
            if isinstance(queue, Mapping):
                self.add_compat(name, **cast("Mapping[str, Any]", queue))
            else:
                self.add(queue)
        self._configured = dict(self)

    def __missing__(self, name: str) -> Queue:
        if name in self.aliases:
            return self.aliases[name]
        if not self.create_missing:
            raise QueueNotFound(
                f"Queue {name!r} is not defined in task_queues, "
                "and task_create_missing_queues is off."
            )
        return self._keep(self.new_missing(name))

    def __setitem__(self, name: str, queue: Any) -> None:
        made = self._completed(as_queue(queue))
        super().__setitem__(name, made)
        if made.alias:
            self.aliases[made.alias] = made

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues that workers consume from, by name: those of the configuration unless
        others are selected."""
        return self._configured if self._selected is None else self._selected

    def add(self, queue: Any, **kwargs: Any) -> Queue:
        """Know one more queue: a queue, or a name with the options of a mapping."""
        if isinstance(queue, str):
            return self.add_compat(queue, **kwargs)
        return self._keep(as_queue(queue))

    def add_compat(self, name: str, **options: Any) -> Queue:
        """Know one more queue, by name and options."""
        return self._keep(queue_from_dict(name, options))

    def select(self, include: str | Iterable[str] | None) -> None:
        """Consume from these only."""
        if include:
            self._selected = {queue.name: queue for queue in map(self.__getitem__, _list(include))}

    def select_add(self, queue: Any, **kwargs: Any) -> Queue:
        """Know one more queue, and consume from it too."""
        made = self.add(queue, **kwargs)
        self._selected = {**self.consume_from, made.name: made}
        return made

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Do not consume from these."""
        if exclude:
            without = set(_list(exclude))
            self._selected = {
                name: queue
                for name, queue in self.consume_from.items()
                if name not in without and queue.alias not in without
            }

    def new_missing(self, name: str) -> Queue:
        """The queue that is made for a name that is not there."""
        if self.autoexchange is not None:
            exchange = as_exchange(self.autoexchange(name))
        else:
            exchange = Exchange(name, self.create_missing_queue_exchange_type or "direct")
        return Queue(
            name, exchange, name, queue_arguments=type_arguments(self.create_missing_queue_type)
        )

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """The queues that workers consume from, as text: one line each."""
        lines: list[str] = []
        for name, queue in sorted(self.consume_from.items()):
            exchange = queue.exchange or Exchange()
            way = f"exchange={exchange.name}({exchange.type}) key={queue.key}"
            lines.append(f".> {name:<16} {way}")
        margin = " " * indent
        return (margin if indent_first else "") + f"\n{margin}".join(lines)

    def _keep(self, queue: Queue) -> Queue:
        self[queue.name] = queue
        return self[queue.name]

    def _completed(self, queue: Queue) -> Queue:
        """The queue with the defaults of the configuration, where it says nothing itself."""
        changes: dict[str, Any] = {}
        if queue.exchange is None and self.default_exchange is not None:
            changes["exchange"] = self.default_exchange
        if not queue.routing_key and self.default_routing_key:
            changes["routing_key"] = self.default_routing_key
        if self.max_priority and not _has_priority(queue):
            changes["max_priority"] = self.max_priority
        return replace(queue, **changes) if changes else queue


def type_arguments(kind: str | None) -> Mapping[str, object]:
    """The arguments of a queue of one of RabbitMQ's types.

    >>> type_arguments("quorum"), type_arguments("classic")
    ({'x-queue-type': 'quorum'}, {})
    """
    return {"x-queue-type": kind} if kind and kind != "classic" else _NOTHING


def _has_priority(queue: Queue) -> bool:
    return queue.max_priority is not None or "x-max-priority" in queue.queue_arguments


def _items(queues: Any) -> Iterable[tuple[str, Any]]:
    if not queues:
        return ()
    if isinstance(queues, Mapping):
        return cast("Mapping[str, Any]", queues).items()
    return [("", queue) for queue in queues]


def _list(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
