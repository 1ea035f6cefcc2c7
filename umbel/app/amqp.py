"""``app.amqp``: queues and routes under the names that Celery gives them.

Source:
    Celery reference, ``celery.app.amqp`` and ``celery.app.routes``: names and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel import model
from umbel.app.sending.tasks_as_dicts import TaskMessages
from umbel.routing.queues import Queues, as_queue
from umbel.routing.routes import Routes

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.sending.router import Router

__all__ = ["AMQP", "Queues", "TaskRouter"]


class TaskRouter:
    """Says where a call would go, without sending it."""

    def __init__(self, router: Router) -> None:
        self._router = router

    @property
    def queues(self) -> Queues:
        """The queues it knows."""
        return self._router.queues

    @property
    def routes(self) -> Routes:
        """``task_routes``, read."""
        return self._router.routes

    def route(
        self,
        options: Mapping[str, Any] | None,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """The options of a call, with those of its route; ``queue`` is a queue.

        >>> from umbel import Umbel
        >>> app = Umbel(set_as_current=False, task_routes={"feed.*": "feeds"})
        >>> app.amqp.router.route({"priority": 3}, "feed.read")["queue"].name
        'feeds'
        """
        given = self.expand_destination(options or {})
        route = self.lookup_route(name, args, kwargs, options, task_type)
        if route is not None:
            said = {option: value for option, value in given.items() if value is not None}
            return {**route, **said}
        if "queue" not in given:
            given["queue"] = self._router.default_queue()
        return given

    def lookup_route(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any] | None:
        """What ``task_routes`` says of a call, or None."""
        route = self._router.lookup(name, args or (), kwargs or {}, options or {}, task_type)
        return self.expand_destination(route) if route else None

    def expand_destination(self, route: str | Mapping[str, Any]) -> dict[str, Any]:
        """A route whose queue is a queue instead of a name."""
        expanded: dict[str, Any] = {"queue": route} if isinstance(route, str) else dict(route)
        queue = expanded.pop("queue", None)
        if queue:
            named = isinstance(queue, str)
            expanded["queue"] = self._router.queues[queue] if named else as_queue(queue)
        return expanded


class AMQP(TaskMessages):
    """A façade: everything it does is done by the app's router.

    An app's own, given as ``amqp`` or ``amqp_cls``, may say what its queues are made by
    (``queues_cls``), and which exchange a queue gets that is made (``autoexchange_of(name)``).
    """

    Queue = model.Queue
    Exchange = model.Exchange
    queues_cls = Queues

    argsrepr_maxsize = 1024
    kwargsrepr_maxsize = 1024
    """Characters of the arguments that :meth:`as_task_v2` shows."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self._router = app.router

    @property
    def queues(self) -> Queues:
        """The queues of the app, which may be added to, selected and deselected."""
        return self._router.queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        self._router.queues = queues

    @property
    def router(self) -> TaskRouter:
        """Says where calls go."""
        return TaskRouter(self._router)

    @property
    def routes(self) -> Routes:
        """``task_routes``, read."""
        return self._router.routes

    def flush_routes(self) -> None:
        """Read ``task_routes`` again when it is needed next."""
        self._router.flush_routes()

    def Queues(  # noqa: N802 - Celery's name
        self,
        queues: Any,
        create_missing: bool | None = None,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Callable[[str], Any] | None = None,
        max_priority: int | None = None,
    ) -> Queues:
        """Queues that follow the settings where nothing else is said."""
        return self._router.make_queues(
            queues,
            create_missing=create_missing,
            create_missing_queue_type=create_missing_queue_type,
            create_missing_queue_exchange_type=create_missing_queue_exchange_type,
            autoexchange=autoexchange,
            max_priority=max_priority,
        )

    @property
    def autoexchange(self) -> Callable[[str], Any] | None:
        """Gives the exchange of a queue that is made, by its name."""
        return self._router.autoexchange

    @autoexchange.setter
    def autoexchange(self, make: Callable[[str], Any] | None) -> None:
        self._router.autoexchange = self._router.queues.autoexchange = make

    @property
    def default_queue(self) -> model.Queue:
        """Where tasks go that nobody routes."""
        return self._router.default_queue()

    @property
    def default_exchange(self) -> model.Exchange:
        """The exchange of queues that name none."""
        return self._router.default_exchange()

    @property
    def utc(self) -> bool:
        """Whether moments in messages are in UTC."""
        return bool(self.app.conf.enable_utc)

    @property
    def producer_pool(self) -> Any:
        """Hands out what publishes."""
        return self.app.producer_pool

    publisher_pool = producer_pool

    def TaskConsumer(  # noqa: N802 - Celery's name
        self, channel: Any, queues: Any = None, accept: Any = None, **options: Any
    ) -> Any:
        """What receives the messages of tasks, from the queues of the app unless it is said."""
        # Few programs receive tasks by themselves.
        from umbel.app.connecting.received import Consumer

        found = list(self.queues.consume_from.values()) if queues is None else queues
        return Consumer(channel, found, accept=accept or self.app.conf.accept_content, **options)
