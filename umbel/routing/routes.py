"""``task_routes``: from the name of a task to where its calls go.

Pure: what the setting may look like is read once, and asked then by name.

Source:
    Celery user guide, Routing Tasks, "Automatic routing" and "Routers"; settings ``task_routes``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from umbel.exceptions import ImproperlyConfigured

__all__ = ["NOWHERE", "Route", "Routes", "compile_routes"]

Route: TypeAlias = Mapping[str, Any]
"""Options of ``apply_async``: ``queue``, ``exchange``, ``routing_key``, ``priority`` …"""

NOWHERE: Route = {}
"""No route: the call goes where it would go without ``task_routes``."""

_ACCEPTED = "expected the name of a queue, a Queue, or a dict of options"

_DECIDED_BY_THE_CALL = frozenset(
    {"countdown", "eta", "expires", "task_id", "time_limit", "soft_time_limit", "shadow"}
    | {"group_id", "root_id", "parent_id", "reply_to", "ignore_result"}
)
"""What Celery does not take from a route either."""


class _Call(NamedTuple):
    """What a router is asked about."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    task: Any


class _Router(Protocol):
    def route(self, call: _Call) -> Route | None:
        """The route; None to have the next router asked."""
        ...


class _Table:
    """Names and patterns, with their routes: an exact name first, then the patterns in order."""

    __slots__ = ("_by_name", "_by_pattern")

    def __init__(self, rows: Iterable[tuple[Any, Any]]) -> None:
        self._by_name: dict[str, Route] = {}
        self._by_pattern: dict[re.Pattern[str], Route] = {}
        for key, value in rows:
            route = _route(value, f"task_routes[{key!r}] is")
            if route is None:
                continue
            if isinstance(key, re.Pattern):
                self._by_pattern[cast("re.Pattern[str]", key)] = route
            elif not isinstance(key, str):
                raise ImproperlyConfigured(
                    f"task_routes has the key {key!r}: expected the name of a task, a pattern "
                    "with *, or a compiled regular expression"
                )
            elif "*" in key:
                self._by_pattern[_glob(key)] = route
            else:
                self._by_name[key] = route

    def route(self, call: _Call) -> Route | None:
        route = self._by_name.get(call.name)
        if route is not None:
            return route
        for pattern, found in self._by_pattern.items():
            if pattern.match(call.name):
                return found
        return None


class _Function:
    """A router that is asked at every call."""

    __slots__ = ("_ask", "_origin")

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._origin = f"the router {getattr(ask, '__qualname__', ask)!s} in task_routes returned"

    def route(self, call: _Call) -> Route | None:
        name, args, kwargs, options, task = call
        return _route(self._ask(name, args, kwargs, options, task=task), self._origin)


class _RouteForTask(_Function):
    """A router of the older kind, with a method ``route_for_task(task, args, kwargs)``."""

    __slots__ = ()

    def route(self, call: _Call) -> Route | None:
        return _route(self._ask(call.name, call.args, call.kwargs), self._origin)


class Routes:
    """Routers in order; the first one that knows a way wins."""

    __slots__ = ("is_static", "routers")

    def __init__(self, routers: Sequence[_Router]) -> None:
        self.routers = tuple(routers)
        self.is_static = all(isinstance(router, _Table) for router in routers)
        """Whether the name alone decides, so that every call of a task goes the same way."""

    def __bool__(self) -> bool:
        return bool(self.routers)

    def find(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = NOWHERE,
        options: Mapping[str, Any] = NOWHERE,
        task: Any = None,
    ) -> Route:
        """The route of a call; :data:`NOWHERE` if there is none.

        Args:
            name: The task's.
            options: What the task and the call say; for router functions.
            task: The task itself, where it is known; for router functions.

        Raises:
            ImproperlyConfigured: A router returned something that is no route.
        """
        call = _Call(name, args, kwargs, options, task)
        for router in self.routers:
            route = router.route(call)
            if route is not None:
                return route
        return NOWHERE


def compile_routes(setting: Any, load: Callable[[str], Any]) -> Routes:
    """Read ``task_routes``.

    Args:
        setting: A mapping; a router function, class or object; the dotted name of one; or a
            list of those, and of lists of pairs of name and route.
        load: Gives what a dotted name names.

    Raises:
        ImproperlyConfigured: It is none of these.

    >>> routes = compile_routes({"feed.*": "feeds", "feed.now": {"queue": "urgent"}}, load=id)
    >>> routes.find("feed.daily"), routes.find("feed.now"), routes.find("web.get")
    ({'queue': 'feeds'}, {'queue': 'urgent'}, {})
    """
    if not setting:
        return Routes(())
    if isinstance(setting, list | tuple):
        return Routes(_routers_of(cast("Sequence[Any]", setting), load))
    return Routes(_router(setting, load))


def _routers_of(entries: Sequence[Any], load: Callable[[str], Any]) -> list[_Router]:
    if entries and all(map(_is_pair, entries)):
        return [_Table(entries)]
    routers: list[_Router] = []
    for entry in entries:
        if _is_pair(entry):
            routers.append(_Table([entry]))
        elif isinstance(entry, list | tuple):
            routers += _routers_of(cast("Sequence[Any]", entry), load)
        else:
            routers += _router(entry, load)
    return routers


def _is_pair(entry: Any) -> bool:
    if not isinstance(entry, list | tuple) or len(cast("Sequence[Any]", entry)) != 2:
        return False
    key, route = cast("Sequence[Any]", entry)
    return isinstance(key, str | re.Pattern) and not callable(route)


def _router(entry: Any, load: Callable[[str], Any]) -> Sequence[_Router]:
    if isinstance(entry, Mapping):
        return [_Table(cast("Any", entry).items())]
    if isinstance(entry, str):
        found = load(entry)
        if isinstance(found, str):
            raise ImproperlyConfigured(f"{entry!r} in task_routes names a string, not a router")
        return compile_routes(found, load).routers
    if isinstance(entry, type):
        entry = entry()
    if hasattr(entry, "route_for_task"):
        return [_RouteForTask(entry.route_for_task)]
    if callable(entry):
        return [_Function(entry)]
    raise ImproperlyConfigured(
        f"task_routes has {entry!r}: expected a dict, a list of pairs, a router function or "
        "class, or the dotted name of one"
    )


def _route(value: Any, origin: str) -> Route | None:
    """A route in its one form. One that says nothing is a route too: the default one.

    Args:
        origin: Where it comes from, for the error.
    """
    if not value:
        return None if value is None else NOWHERE
    if isinstance(value, Mapping):
        route = {**cast("Route", value)}
        misplaced = sorted(_DECIDED_BY_THE_CALL & route.keys())
        if misplaced:
            raise ImproperlyConfigured(
                f"{origin} {', '.join(map(repr, misplaced))}: a route says where a task goes, "
                "not what it is. Set it on the task or on the call"
            )
        return route
    if isinstance(value, str) or (hasattr(value, "name") and hasattr(value, "exchange")):
        return {"queue": value}
    raise ImproperlyConfigured(f"{origin} {value!r}: {_ACCEPTED}")


def _glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which ``*`` stands for anything, dots too; beside it ``?`` and ``[a-z]``."""
    return re.compile(translate(pattern))
