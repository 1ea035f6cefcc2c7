"""``app.control.inspect()``: asking workers without changing them.

Source:
    Celery reference, ``celery.app.control.Inspect``: names, arguments, shapes of replies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.exceptions import DuplicateNodenameWarning
from umbel.serialization.shapes import is_list
from umbel.utils.text import pluralize
from umbel.wire.pidbox import matches

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Inspect", "flatten_reply"]


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The replies of all nodes in one mapping; warns of nodes that share a name.

    >>> flatten_reply([{"a@x": 1}, {"b@x": 2}])
    {'a@x': 1, 'b@x': 2}
    """
    value_by_node: dict[str, Any] = {}
    twice: set[str] = set()
    for item in reply:
        twice.update(item.keys() & value_by_node.keys())
        value_by_node.update(item)
    if twice:
        warnings.warn(
            DuplicateNodenameWarning(
                f"Received multiple replies from node {pluralize(len(twice), 'name')}: "
                f"{', '.join(sorted(twice))}. Give each worker a name of its own, with "
                "'umbel worker --hostname'."
            ),
            stacklevel=2,
        )
    return value_by_node


class Inspect:
    """Questions to workers. Each method returns ``{node: reply}``, or None when nobody replied;
    with one node as ``destination`` (a string) just its reply."""

    def __init__(
        self,
        destination: Sequence[str] | str | None = None,
        timeout: float | None = 1.0,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: object = None,
        app: Umbel | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        """Make one; see :meth:`umbel.app.control.Control.broadcast` for the arguments."""
        self.app = app or _current_app()
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def active(self, safe: bool | None = None) -> Any:
        """The tasks that run.

        Args:
            safe: Ignored: arguments are always shown as text.
        """
        return self._request("active", safe=safe)

    def reserved(self, safe: bool | None = None) -> Any:
        """The tasks that workers have taken and not started."""
        return self._request("reserved")

    def scheduled(self, safe: bool | None = None) -> Any:
        """The tasks that wait in workers until they are due."""
        return self._request("scheduled")

    def revoked(self) -> Any:
        """The ids of revoked tasks."""
        return self._request("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """The tasks that workers know.

        Args:
            taskinfoitems: Attributes of tasks to show beside their names.
        """
        return self._request("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def query_task(self, *ids: Any) -> Any:
        """What has become of tasks: ``{node: {id: (state, task)}}``."""
        if len(ids) == 1 and is_list(ids[0]):
            # Once it took a list.
            return self._request("query_task", ids=list(ids[0]))
        return self._request("query_task", ids=ids)

    def stats(self) -> Any:
        """Numbers: what has been done, and by what."""
        return self._request("stats")

    def active_queues(self) -> Any:
        """The queues that workers take tasks from."""
        return self._request("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings, without secrets.

        Args:
            with_defaults: Whether to show those too that nobody has changed.
        """
        return self._request("conf", with_defaults=with_defaults)

    def report(self) -> Any:
        """Versions and settings, as text for people."""
        return self._request("report")

    def ping(self, destination: Sequence[str] | str | None = None) -> Any:
        """Which workers live: ``{node: {"ok": "pong"}}``."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def clock(self) -> Any:
        """The logical clocks."""
        return self._request("clock")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """What workers tell one that starts: revoked tasks and the logical clock."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def memsample(self) -> Any:
        """How much memory workers use; needs psutil there."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """What :meth:`memsample` has said so far, as text."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Draw what keeps objects in memory; needs objgraph there."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)

    def _request(self, command: str, **kwargs: Any) -> Any:
        replies = self.app.control.broadcast(
            command,
            arguments=kwargs,
            destination=self.destination,
            callback=self.callback,
            connection=self.connection,
            limit=self.limit,
            timeout=self.timeout,
            reply=True,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        value_by_node = flatten_reply(replies)
        if isinstance(self.destination, str):
            return value_by_node.get(self.destination)
        if self.pattern and self.matcher:
            pattern, matcher = self.pattern, self.matcher
            return {
                node: value
                for node, value in value_by_node.items()
                if matches(node, pattern, matcher)
            }
        return value_by_node


def _current_app() -> Any:
    # The current app is found through the module that knows all apps.
    from umbel.app.current import get_current_app

    return get_current_app()
