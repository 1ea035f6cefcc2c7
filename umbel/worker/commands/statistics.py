"""The numbers of ``inspect stats``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from umbel.worker.commands.state import ControlState

__all__ = ["stats_of"]

_IMPLEMENTATIONS = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
    "gevent": "celery.concurrency.gevent:TaskPool",
    "eventlet": "celery.concurrency.eventlet:TaskPool",
}
"""What Celery's tools expect to read."""

_RUSAGE = (
    *("utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt"),
    *("nswap", "inblock", "oublock", "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw"),
)


def stats_of(state: ControlState) -> dict[str, Any]:
    """What the worker has done and what it works with.

    Source:
        Celery reference, ``Inspect.stats``: names of the fields.
    """
    worker, consumer = state.worker, state.consumer
    return {
        "total": dict(worker.state.totals),
        "pid": os.getpid(),
        "clock": str(state.app.clock.value),
        "uptime": round(worker.uptime),
        "pool": _pool(state),
        "broker": _broker(state),
        "prefetch_count": consumer.qos.value,
        "rusage": _rusage(),
        "rival_schedulers": worker.state.rivals.names(),
    }


def _pool(state: ControlState) -> dict[str, Any]:
    options, pool = state.worker.options, state.consumer.pool
    kind = options.pool
    pids = getattr(pool, "pids", None) or [os.getpid()]
    held = len(state.worker.state.active)
    told: dict[str, Any] = getattr(pool, "info", None) or {}
    return {
        "implementation": _IMPLEMENTATIONS.get(kind, f"umbel.pools:{kind}"),
        "max-concurrency": pool.size,
        "processes": list(pids),
        "max-tasks-per-child": options.max_tasks_per_child or "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
        "writes": {
            "total": sum(state.worker.state.totals.values()),
            "avg": "N/A",
            "all": "N/A",
            "raw": "N/A",
            "strategy": "fair",
            "inqueues": {"total": pool.size, "active": min(held, pool.size)},
        },
        **told,
    }


def _broker(state: ControlState) -> dict[str, Any]:
    app = state.app
    url = app.broker_read_url.split(";")[0]
    parts = urlsplit(url)
    database = unquote(parts.path).removeprefix("/")
    return {
        "hostname": parts.hostname,
        "userid": parts.username,
        "virtual_host": database or "/",
        "port": parts.port,
        "insist": False,
        "ssl": parts.scheme in {"rediss", "amqps", "valkeys"},
        "transport": parts.scheme,
        "connect_timeout": app.conf.broker_connection_timeout,
        "transport_options": {},
        "login_method": app.conf.broker_login_method,
        "uri_prefix": None,
        "heartbeat": app.conf.broker_heartbeat or 0,
        "failover_strategy": "round-robin",
        "alternates": [],
        "credential_provider": None,
    }


def _rusage() -> dict[str, float] | str:
    try:
        # Windows has no such module.
        import resource
    except ImportError:
        return "N/A"
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {name: getattr(usage, f"ru_{name}") for name in _RUSAGE}
