"""Where calls go: queue names and exchanges, before anything is looked up in ``task_routes``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from umbel.exceptions import QueueNotFound
from umbel.model import Exchange, Queue

__all__ = ["Router"]


class Router:
    """Resolves ``queue``, ``exchange`` and ``routing_key`` into where a message is published.

    Source:
        Celery user guide, Routing Tasks: messages for a direct exchange go straight to the
        queue, through the nameless exchange.
    """

    def __init__(self, conf: Callable[[], Any]) -> None:
        self._conf = conf

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues of the configuration, by name; the default queue if there are none."""
        conf = self._conf()
        configured = conf.task_queues
        if not configured:
            return {conf.task_default_queue: self._default()}
        if isinstance(configured, Mapping):
            by_name = cast("Mapping[str, Any]", configured)
            made = [_queue(name, options) for name, options in by_name.items()]
        else:
            made = [_as_queue(queue) for queue in configured]
        return {queue.name: queue for queue in made}

    def select(self, names: Sequence[str] | None, exclude: Sequence[str] = ()) -> list[Queue]:
        """The queues to consume from: all, or the named ones, but not the excluded ones.

        Raises:
            QueueNotFound: A name is not configured, and ``task_create_missing_queues`` is off.
        """
        queues = self.queues
        if names is None:
            chosen = list(queues.values())
        else:
            chosen = [queues[name] if name in queues else self.create(name) for name in names]
        return [queue for queue in chosen if queue.name not in exclude]

    def create(self, name: str) -> Queue:
        """A queue that is not configured, if such are allowed; see :meth:`select`."""
        conf = self._conf()
        if not conf.task_create_missing_queues:
            message = (
                f"Trying to select queue {name!r} but it is not defined in task_queues, "
                "and task_create_missing_queues is off."
            )
            raise QueueNotFound(message)
        return Queue(name, Exchange(name, "direct"), name)

    def route(
        self,
        *,
        queue: str | Queue | None = None,
        exchange: str | Exchange | None = None,
        routing_key: str | None = None,
    ) -> tuple[str, str]:
        """The exchange and routing key to publish with.

        Raises:
            QueueNotFound: See :meth:`select`.
        """
        if exchange and routing_key:
            return str(exchange), routing_key
        if queue is None:
            name = self._conf().task_default_queue
        else:
            name = queue if isinstance(queue, str) else queue.name
        target = self.queues.get(name) if isinstance(queue, str) or queue is None else queue
        if target is None:
            target = self.create(name)
        if target.exchange is not None and target.exchange.type != "direct":
            return target.exchange.name, routing_key or target.key
        return "", target.name

    def _default(self) -> Queue:
        conf = self._conf()
        name = conf.task_default_queue
        return Queue(
            name,
            Exchange(conf.task_default_exchange or name, conf.task_default_exchange_type),
            conf.task_default_routing_key or name,
        )


def _as_queue(queue: Any) -> Queue:
    if isinstance(queue, Queue):
        return queue
    if isinstance(queue, str):
        return Queue(queue, Exchange(queue, "direct"), queue)
    exchange = getattr(queue, "exchange", None)
    name = str(getattr(exchange, "name", "") or queue.name)
    kind = str(getattr(exchange, "type", "direct") or "direct")
    return Queue(queue.name, Exchange(name, kind), getattr(queue, "routing_key", "") or queue.name)


def _queue(name: str, options: Mapping[str, Any]) -> Queue:
    exchange = options.get("exchange") or name
    kind = options.get("exchange_type", "direct")
    key = options.get("routing_key") or options.get("binding_key") or name
    return Queue(name, Exchange(str(exchange), kind), key)
