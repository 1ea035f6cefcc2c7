"""Where calls go: ``task_routes``, queues and exchanges, as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.model import Exchange, Queue
from umbel.routing.queues import Queues, as_queue, type_arguments
from umbel.routing.routes import NOWHERE, Route, Routes, compile_routes
from umbel.utils.imports import symbol_by_name

__all__ = ["Router"]

_QUEUE_SETTINGS = (
    *("task_queues", "task_default_queue", "task_default_exchange", "task_default_exchange_type"),
    *("task_default_routing_key", "task_default_queue_type", "task_queue_max_priority"),
    *("task_create_missing_queues", "task_create_missing_queue_type"),
    "task_create_missing_queue_exchange_type",
)


_MOST_EXCHANGES = 10_000
"""Whose types are remembered, of those that only calls have named."""


class Router:
    """Resolves names, queues and exchanges into where a message is published.

    Source:
        Celery user guide, Routing Tasks: messages for a direct exchange go straight to the
        queue, through the nameless exchange.
    """

    def __init__(self, conf: Callable[[], Any], own_amqp: Callable[[], Any] = lambda: None) -> None:
        """Resolve by the settings.

        Args:
            own_amqp: Gives the app's own class of ``app.amqp``, which may have a ``queues_cls`` and
                an ``autoexchange``; None: umbel's.
        """
        self._conf = conf
        self._own_amqp = own_amqp
        # Each with the version of the configuration, and the settings, that it follows from.
        self._queues: tuple[object, tuple[Any, ...], Queues] | None = None
        self._routes: tuple[object, Any, Routes] | None = None
        self.autoexchange: Callable[[str], Any] | None = None
        """Gives the exchange of a queue that is made, by its name."""
        self.undeclared: dict[str, list[Queue]] = {}
        """Exchanges that calls have been routed to, with their queues, if these are not known to
        have been declared."""
        self._met: set[tuple[str, str]] = set()
        self._type_by_exchange: dict[str, str] = {}

    @property
    def queues(self) -> Queues:
        """The queues of the configuration, by name; the default queue if there are none."""
        conf, kept = self._conf(), self._queues
        if kept is not None and kept[0] is conf.version:
            return kept[2]
        settings = tuple(getattr(conf, name) for name in _QUEUE_SETTINGS)
        if kept is not None and kept[1] == settings:
            self._queues = (conf.version, settings, kept[2])
        else:
            self._use(settings, self.make_queues())
        return self.queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        settings = tuple(getattr(self._conf(), name) for name in _QUEUE_SETTINGS)
        made = queues if isinstance(queues, Queues) else self.make_queues(queues)
        self._use(settings, made)

    def _use(self, settings: tuple[Any, ...], queues: Queues) -> None:
        self._queues = (self._conf().version, settings, queues)
        self._met.clear()
        self.undeclared.clear()

    def make_queues(self, configured: Any = None, **options: Any) -> Queues:
        """The queues that ``configured`` describes, or else the configuration.

        Args:
            options: Of :class:`~umbel.routing.queues.Queues`, instead of the settings.
        """
        conf = self._conf()
        name = conf.task_default_queue
        key = conf.task_default_routing_key or name
        exchange = self.default_exchange()
        own = self._own_amqp()
        autoexchange = options.pop("autoexchange", None) or self.autoexchange
        make: type[Queues] = Queues if own is None else own.queues_cls
        return make(
            configured or conf.task_queues or [self._default(name, exchange, key)],
            exchange,
            default_routing_key=key,
            autoexchange=autoexchange or getattr(own, "autoexchange_of", None),
            **{**_missing(conf), **{k: v for k, v in options.items() if v is not None}},
        )

    @property
    def routes(self) -> Routes:
        """``task_routes``, read."""
        conf, kept = self._conf(), self._routes
        if kept is not None and kept[0] is conf.version:
            return kept[2]
        setting = conf.task_routes
        if kept is not None and kept[1] is setting:
            routes = kept[2]
        else:
            routes = compile_routes(setting, symbol_by_name)
        self._routes = (conf.version, setting, routes)
        return routes

    def flush_routes(self) -> None:
        """Read ``task_routes`` again when it is needed next."""
        self._routes = None

    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        conf = self._conf()
        name = conf.task_default_exchange or conf.task_default_queue
        return Exchange(name, conf.task_default_exchange_type)

    def default_queue(self) -> Queue:
        """Where tasks go that nobody routes.

        Raises:
            QueueNotFound: See :meth:`select`.
        """
        return self.queues[self._conf().task_default_queue]

    def select(self, names: Sequence[str] | None, exclude: Sequence[str] = ()) -> list[Queue]:
        """The queues to consume from: all, or the named ones, but not the excluded ones.

        Raises:
            QueueNotFound: A name is not configured, and ``task_create_missing_queues`` is off.
        """
        queues = self.queues
        chosen = queues.consume_from.values() if names is None else [queues[n] for n in names]
        found = {
            queue.name: queue
            for queue in chosen
            if queue.name not in exclude and queue.alias not in exclude
        }
        return list(found.values())

    def bound(self) -> list[Queue]:
        """The queues of the configuration that messages reach through an exchange.

        Whoever publishes declares them, so that nothing is lost before their first consumer.
        """
        return [
            queue
            for queue in self.queues.values()
            if queue.exchange is not None and queue.exchange.type != "direct" and _lasts(queue)
        ]

    def lookup(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = NOWHERE,
        options: Mapping[str, Any] = NOWHERE,
        task: Any = None,
    ) -> Route:
        """What ``task_routes`` says of a call; see :meth:`umbel.routing.routes.Routes.find`."""
        return self.routes.find(name, args, kwargs, options, task)

    def route(
        self,
        *,
        queue: Any = None,
        exchange: str | Exchange | None = None,
        routing_key: str | None = None,
        exchange_type: str | None = None,
    ) -> tuple[str, str]:
        """The exchange and routing key to publish with.

        Raises:
            QueueNotFound: See :meth:`select`.
        """
        return self.way(queue, exchange, routing_key, exchange_type)[:2]

    def way(
        self, queue: Any, exchange: Any, routing_key: str | None, exchange_type: str | None = None
    ) -> tuple[str, str, int | str | None]:
        """The exchange and routing key to publish with, and the exchange's delivery mode.

        Args:
            queue: A name, a queue, or None for the default one.
            exchange_type: Instead of that of the queue's exchange.

        Raises:
            QueueNotFound: See :meth:`select`.
        """
        if not queue:
            target = self.default_queue()
        else:
            target = self.queues[queue] if isinstance(queue, str) else as_queue(queue)
        own = target.exchange or Exchange(target.name)
        named = str(getattr(exchange, "name", exchange) or "")
        self._note_type(named or own.name, exchange_type or getattr(exchange or own, "type", None))
        if named and routing_key:
            self._meet(target, named)
            return named, routing_key, own.delivery_mode
        if (exchange_type or own.type) == "direct":
            return "", target.name, own.delivery_mode
        self._meet(target, named or own.name)
        return named or own.name, routing_key or target.key, own.delivery_mode

    def exchange_type(self, name: str) -> str | None:
        """The type of an exchange, as the configuration or a call said; None: nobody did."""
        for queue in self.queues.values():
            for exchange in (queue.exchange, *(binding.exchange for binding in queue.bindings)):
                if exchange is not None and exchange.name == name:
                    return exchange.type
        return self._type_by_exchange.get(name)

    def _meet(self, target: Queue, exchange: str) -> None:
        """Have the queues of an exchange declared before the first message goes out to it."""
        if (exchange, target.name) in self._met:
            return
        self._met.add((exchange, target.name))
        queues = {target.name: target, **self.queues}.values()
        lasting = [q for q in queues if _lasts(q) and _leads(exchange, q)]
        if lasting:
            self.undeclared[exchange] = lasting

    def _note_type(self, exchange: str, kind: str | None) -> None:
        if kind is not None and kind != "direct" and exchange not in self._type_by_exchange:
            if len(self._type_by_exchange) > _MOST_EXCHANGES:
                self._type_by_exchange.clear()
            self._type_by_exchange[exchange] = kind

    def _default(self, name: str, exchange: Exchange, key: str) -> Queue:
        kind = self._conf().task_default_queue_type
        return Queue(name, exchange, key, queue_arguments=type_arguments(kind))


def _lasts(queue: Queue) -> bool:
    # A queue that comes and goes with its worker is declared by its worker alone.
    return not (queue.auto_delete or queue.exclusive)


def _leads(exchange: str, queue: Queue) -> bool:
    own = queue.exchange is not None and queue.exchange.name == exchange
    return own or any(binding.exchange.name == exchange for binding in queue.bindings)


def _missing(conf: Any) -> dict[str, Any]:
    return {
        "create_missing": conf.task_create_missing_queues,
        "create_missing_queue_type": conf.task_create_missing_queue_type,
        "create_missing_queue_exchange_type": conf.task_create_missing_queue_exchange_type,
        "max_priority": conf.task_queue_max_priority,
    }
