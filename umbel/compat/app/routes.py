"""``task_routes``, taken apart.

Source:
    Celery reference, ``celery.app.routes``: names and behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from umbel.compat.utils.views import lpmerge
from umbel.exceptions import QueueNotFound
from umbel.model import Queue
from umbel.routing.routes import NOWHERE, compile_routes
from umbel.serialization.shapes import is_list
from umbel.utils.functional import maybe_evaluate, mlazy
from umbel.utils.imports import symbol_by_name

__all__ = ["MapRoute", "Router", "expand_router_string", "prepare"]


class MapRoute:
    """A router of names and patterns.

    >>> route = MapRoute({"feed.*": "feeds", "mail.send": {"queue": "mail", "priority": 3}})
    >>> route("feed.daily"), route("mail.send"), route("other")
    ({'queue': 'feeds'}, {'queue': 'mail', 'priority': 3}, None)
    """

    def __init__(self, map: Mapping[Any, Any] | Sequence[tuple[Any, Any]]) -> None:
        self._routes = compile_routes(dict(map), symbol_by_name)

    def __call__(self, name: str, *_args: Any, **_kwargs: Any) -> dict[str, Any] | None:
        """The route of a task; None: it knows none."""
        found = self._routes.find(name)
        return None if found is NOWHERE else dict(found)


def expand_router_string(router: str) -> Any:
    """The router of that name; one of a class of the older kind is made."""
    found = symbol_by_name(router)
    return found() if hasattr(found, "route_for_task") else found


def prepare(routes: Any) -> Sequence[Any]:
    """The setting as a list of routers."""
    if routes is None:
        return ()
    given: Sequence[Any] = routes if is_list(routes) else (routes,)
    return [_prepared(one) for one in given]


def _prepared(one: Any) -> Any:
    if isinstance(one, Mapping | list | tuple):
        return MapRoute(cast("Any", one))
    return mlazy(expand_router_string, one) if isinstance(one, str) else one


class Router:
    """Finds the way of calls by several routers; the first one that knows it wins.

    Args:
        routes: As :func:`prepare` makes them.
        queues: By name.
        app: Whose default queue is taken where no router knows a way.
    """

    def __init__(
        self,
        routes: Sequence[Any] | None = None,
        queues: Mapping[str, Any] | None = None,
        create_missing: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.queues: Mapping[str, Any] = {} if queues is None else queues
        self.routes: Sequence[Any] = [] if routes is None else routes
        self.create_missing = create_missing

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> Any:
        """The options of a call, with those of its route.

        Raises:
            QueueNotFound: A name is not among the queues.
        """
        options = self.expand_destination(options)
        route = self.lookup_route(name, args, kwargs or {}, options, task_type)
        if route:
            return lpmerge(self.expand_destination(route), options)
        if "queue" not in options:
            return lpmerge(self.expand_destination(self.app.conf.task_default_queue), options)
        return options

    def expand_destination(self, route: str | dict[str, Any]) -> dict[str, Any]:
        """A route whose queue is a queue instead of a name.

        Raises:
            QueueNotFound: The name is not among the queues.
        """
        expanded: dict[str, Any] = {"queue": route} if isinstance(route, str) else route
        queue = expanded.pop("queue", None)
        if isinstance(queue, Queue):
            expanded["queue"] = queue
        elif queue:
            try:
                expanded["queue"] = self.queues[queue]
            except KeyError:
                raise QueueNotFound(f"Queue {queue!r} missing from task_queues") from None
        return expanded

    def lookup_route(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> Any:
        """What the first router says that knows a way; None: none does."""
        answers = (
            self.query_router(router, name, args, kwargs, options, task_type)
            for router in self.routes
        )
        return next((answer for answer in answers if answer is not None), None)

    def query_router(
        self, router: Any, task: str, args: Any, kwargs: Any, options: Any, task_type: Any
    ) -> Any:
        """What one router says."""
        asked = maybe_evaluate(router)
        if hasattr(asked, "route_for_task"):
            return asked.route_for_task(task, args, kwargs)
        return asked(task, args, kwargs, options, task=task_type)
