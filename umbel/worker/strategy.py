"""What a worker does with the messages of a task: ``Task.Strategy``.

A strategy is called once, with the task, the app and the consumer, and gives what is called with
each message: it may run the task in the worker's way (:func:`default`), in its own, or keep
messages until there are enough of them.

Source:
    Celery reference, ``celery.worker.strategy``: arguments, and what the two protocols become.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from umbel.app.connecting.received import Received
from umbel.exceptions import InvalidTaskError

__all__ = ["Handler", "default", "hybrid_to_proto2", "proto1_to_proto2"]

Handler = Callable[..., object]
"""Called with a message, its content where that is read already, else None, what acknowledges it,
what rejects it, and callbacks."""

_FIELDS = (
    *("lang", "task", "id", "root_id", "parent_id", "group", "meth", "shadow", "eta", "expires"),
    *("retries", "timelimit", "argsrepr", "kwargsrepr", "origin"),
)


def default(task: Any, app: Any, consumer: Any, **_: Any) -> Handler:  # noqa: ARG001
    """The worker's own way: the message is run as if its task had no strategy."""

    def run(message: Received, *_: Any, **__: Any) -> None:
        consumer.run(message)

    return run


def hybrid_to_proto2(
    message: Received, body: Mapping[str, Any]
) -> tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]:
    """Body, headers, whether the body is decoded, and whether times are UTC, of a message whose
    content says everything (protocol 1).

    Raises:
        InvalidTaskError: The content is not that of a task.
    """
    return _modern(body, {**_headers(body), **message.headers})


def proto1_to_proto2(
    message: Received,  # noqa: ARG001 - documented parameter
    body: Mapping[str, Any],
) -> tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]:
    """The same, where headers say nothing.

    Raises:
        InvalidTaskError: The content is not that of a task.
    """
    headers = {**body, **_headers(body), "group": body.get("taskset")}
    return _modern(body, headers)


def _headers(body: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"retries": 0, "timelimit": (None, None)}
    return {name: body.get(name, limits.get(name)) for name in _FIELDS}


def _modern(
    body: Mapping[str, Any], headers: dict[str, Any]
) -> tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]:
    args: Any = body.get("args", ())
    kwargs: Any = body.get("kwargs", {})
    if not hasattr(kwargs, "items"):
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    embed = {name: body.get(name) for name in ("callbacks", "errbacks", "chord")}
    return (args, kwargs, {**embed, "chain": None}), headers, True, body.get("utc", True)
