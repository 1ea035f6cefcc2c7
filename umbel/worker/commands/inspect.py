"""Commands that change nothing.

Source:
    Celery user guide, Workers, "Inspecting workers": names, arguments and shapes of replies, as
    observed with Celery 5.7.
"""

from __future__ import annotations

import gc
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from umbel.serialization.registry import dumps
from umbel.worker.commands.memory import rss, samples_of
from umbel.worker.commands.registry import inspect_command, ok
from umbel.worker.commands.state import ControlState
from umbel.worker.commands.statistics import stats_of

__all__: list[str] = []

_ITEMS = ("exchange", "routing_key", "rate_limit")
"""What ``registered`` shows of a task unless asked for something else."""


def _truth(text: str) -> bool:
    """What a flag on the command line says.

    >>> _truth("yes"), _truth("0")
    (True, False)

    Raises:
        ValueError: Neither.
    """
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


@inspect_command()
def report(state: ControlState, **_: Any) -> Any:
    """Information about Celery installation for bug reports."""
    return ok(state.app.bugreport())


@inspect_command(
    alias="dump_conf",
    signature="[include_defaults=False]",
    args=[("with_defaults", _truth)],
)
def conf(state: ControlState, with_defaults: bool = False, **_: Any) -> Any:
    """List configuration."""
    table = state.app.conf.table(with_defaults=bool(with_defaults))
    return {name: _plain(value) for name, value in table.items() if not name.startswith("__")}


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: ControlState, ids: Any = (), **_: Any) -> Any:
    """Query for task information by id."""
    wanted = {ids} if isinstance(ids, str) else set(ids or ())
    found: dict[str, Any] = {}
    for name, accepted in (
        *(("active", each) for each in state.running()),
        *(("reserved", each) for each in state.waiting()),
        *(("scheduled", each) for each in state.held()),
    ):
        if accepted.request.id in wanted:
            found[accepted.request.id] = (name, state.about(accepted))
    return found


@inspect_command()
def clock(state: ControlState, **_: Any) -> Any:
    """Get current logical clock value."""
    return {"clock": state.app.clock.value}


@inspect_command(default_timeout=0.2)
def ping(state: ControlState, **_: Any) -> Any:
    """Ping worker(s)."""
    return ok("pong")


@inspect_command()
def stats(state: ControlState, **_: Any) -> Any:
    """Request worker statistics/information."""
    return stats_of(state)


@inspect_command(alias="dump_schedule")
def scheduled(state: ControlState, **_: Any) -> Any:
    """List of currently scheduled ETA/countdown tasks."""
    return [
        {
            "eta": _moment(accepted.request.eta),
            "priority": 6,
            "request": state.about(accepted),
        }
        for accepted in state.held()
    ]


@inspect_command(alias="dump_reserved")
def reserved(state: ControlState, **_: Any) -> Any:
    """List of currently reserved tasks, not including scheduled/active."""
    return [state.about(accepted) for accepted in state.waiting()]


@inspect_command(alias="dump_active")
def active(state: ControlState, safe: Any = False, **_: Any) -> Any:
    """List of tasks currently being executed."""
    return [state.about(accepted, safe=bool(safe)) for accepted in state.running()]


@inspect_command(
    alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]"
)
def registered(
    state: ControlState, taskinfoitems: Any = None, builtins: Any = False, **_: Any
) -> Any:
    """List of registered tasks."""
    items = [item for item in taskinfoitems or _ITEMS if isinstance(item, str) and item[:1] != "_"]
    return [
        _described(task, items)
        for name, task in sorted(state.app.tasks.items())
        if builtins or not name.startswith(("celery.", "umbel."))
    ]


@inspect_command()
def active_queues(state: ControlState, **_: Any) -> Any:
    """List the task queues a worker is currently consuming from."""
    return [_queue(queue) for queue in state.consumer.queues]


@inspect_command(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)
def objgraph(
    state: ControlState, num: int = 200, max_depth: int = 10, type: str = "Request", **_: Any
) -> Any:
    """Create graph of uncollected objects (memory-leak debugging)."""
    try:
        # Optional: objgraph.
        library = import_module("objgraph")
    except ImportError as error:
        raise ImportError("Requires the objgraph library") from error
    gc.collect()
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        objects: list[Any] = library.by_type(type)[:num]

        def is_one(value: object) -> bool:
            return any(value is each for each in objects)

        library.show_backrefs(
            objects,
            max_depth=max_depth,
            highlight=is_one,
            filename=file.name,
        )
    return {"filename": file.name}


@inspect_command()
def memsample(state: ControlState, **_: Any) -> Any:
    """Sample current RSS memory usage."""
    return rss()


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: ControlState, samples: int = 10, **_: Any) -> Any:
    """Dump statistics of previous memsample requests."""
    return samples_of(int(samples))


def _described(task: Any, items: list[str]) -> str:
    shown = [
        f"{item}={value}" for item in items if (value := getattr(task, item, None)) is not None
    ]
    return f"{task.name} [{' '.join(shown)}]" if shown else str(task.name)


def _plain(value: Any) -> Any:
    """The value, if JSON can say it; else its ``repr``."""
    try:
        dumps(value, "json")
    except Exception:  # noqa: BLE001 - whatever the configuration holds
        return repr(value)
    return value


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _queue(queue: Any) -> dict[str, Any]:
    exchange = queue.exchange
    return {
        "name": queue.name,
        "exchange": None if exchange is None else _exchange(exchange),
        "routing_key": queue.key,
        "queue_arguments": dict(queue.queue_arguments) or None,
        "binding_arguments": dict(queue.binding_arguments) or None,
        "consumer_arguments": None,
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "no_ack": False,
        "alias": queue.alias,
        "bindings": [
            {
                "exchange": _exchange(binding.exchange),
                "routing_key": binding.routing_key,
                "arguments": dict(binding.arguments) or None,
            }
            for binding in queue.bindings
        ],
        "no_declare": None,
        "expires": queue.expires,
        "message_ttl": queue.message_ttl,
        "max_length": queue.max_length,
        "max_length_bytes": None,
        "max_priority": queue.max_priority,
    }


def _exchange(exchange: Any) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "type": exchange.type,
        "arguments": dict(exchange.arguments) or None,
        "durable": exchange.durable,
        "passive": False,
        "auto_delete": exchange.auto_delete,
        "delivery_mode": exchange.delivery_mode,
        "no_declare": False,
    }
