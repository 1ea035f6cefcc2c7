"""Task documents, as umbel's records have them and as Celery's backends do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.protocols import Serializer
from umbel.serialization.shapes import is_dict, is_list
from umbel.states import EXCEPTION_STATES
from umbel.utils.saferepr import saferepr
from umbel.wire import errors

__all__ = ["Told", "document_of"]

_OTHER_NAMES = {
    **{name: name for name in ("group_id", "parent_id")},
    **{name: f"task_{name}" for name in ("name", "args", "kwargs")},
    **{name: name for name in ("worker", "retries", "queue", "stamped_headers")},
}
"""What may be known of a task, with another name that backends have for it."""


class _Child:
    """A task that another one has sent."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def as_tuple(self) -> Any:
        """Its result tuple."""
        return self._found


class Told:
    """The request that a backend is told of: what the record of a task says about its call.

    Source:
        Celery reference, ``celery.app.task.Context``: names.
    """

    chord = None
    errbacks = None
    chain = None
    ignore_result = False
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    stamped_headers: Any = None
    stamps: Mapping[str, Any] | None = None

    def __init__(self, document: Mapping[str, Any]) -> None:
        own = document.get("headers")
        # The caller's headers are attributes, too: django-celery-beat sends some.
        vars(self).update(own if is_dict(own) else {})
        children = document.get("children")
        self.id = document.get("task_id")
        self.date_done = document.get("date_done")
        self.task = self.name = document.get("name")
        self.args, self.kwargs = document.get("args"), document.get("kwargs")
        if self.name is not None:
            self.argsrepr, self.kwargsrepr = saferepr(self.args), saferepr(self.kwargs)
        self.hostname = document.get("worker")
        self.retries = document.get("retries")
        self.group = document.get("group_id")
        self.parent_id = document.get("parent_id")
        self.children = [_Child(each) for each in children] if is_list(children) else []
        self.delivery_info = {"routing_key": document.get("queue")}
        names = document.get("stamped_headers")
        if is_list(names):
            self.stamped_headers = names
            self.stamps = {name: document[name] for name in names if name in document}


def document_of(task_id: str, meta: Mapping[str, Any], form: Serializer) -> dict[str, Any]:
    """The ``celery-task-meta`` document of what a backend says of a task."""
    status, result = str(meta["status"]), meta.get("result")
    if status in EXCEPTION_STATES and isinstance(result, BaseException):
        result = errors.encode(result, dumps=form.dumps)
    document: dict[str, Any] = {
        "status": status,
        "result": result,
        "traceback": meta.get("traceback"),
        "children": meta.get("children") or [],
        "date_done": meta.get("date_done"),
        "task_id": task_id,
    }
    for name, other in _OTHER_NAMES.items():
        value = meta.get(name, meta.get(other))
        if value is not None:
            document[name] = value
    for name in meta.get("stamped_headers") or ():
        document[name] = meta.get(name)
    return document
