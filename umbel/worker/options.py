"""How a worker was asked to be: the arguments, else the settings, else the machine."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from umbel.exceptions import ImproperlyConfigured
from umbel.utils.nodenames import node_format
from umbel.utils.sysinfo import cpu_budget, is_auto_concurrency

if TYPE_CHECKING:
    from umbel.app.configuring.settings import Settings

__all__ = ["PoolKind", "WorkerArguments", "WorkerOptions", "node_name", "pool_kind", "resolve"]

PoolKind = Literal["prefork", "threads", "solo", "asyncio", "gevent", "eventlet", "guest"]
"""``guest``: one that the program brings along."""

_KIND_BY_NAME: dict[str, PoolKind] = {
    "prefork": "prefork",
    "processes": "prefork",
    "celery.concurrency.prefork:TaskPool": "prefork",
    "threads": "threads",
    "celery.concurrency.thread:TaskPool": "threads",
    "solo": "solo",
    "celery.concurrency.solo:TaskPool": "solo",
    "asyncio": "asyncio",
    "gevent": "gevent",
    "celery.concurrency.gevent:TaskPool": "gevent",
    "eventlet": "eventlet",
    "celery.concurrency.eventlet:TaskPool": "eventlet",
}

_ASYNCIO_CONCURRENCY = 1000


class WorkerArguments(TypedDict, total=False):
    """What :class:`umbel.worker.Worker` may be given; what is left out, the settings say."""

    hostname: str | None
    """The node name; ``%h``, ``%n`` and ``%d`` stand for the host, its short name, its domain."""
    pool: str | None
    concurrency: int | str | None
    queues: Sequence[str] | str | None
    exclude_queues: Sequence[str] | str | None
    prefetch_multiplier: int | None
    disable_prefetch: bool | None
    autoscale: tuple[int, int] | str | None
    """The most and the least slots; as text: ``10,3`` or ``10``."""
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    """KiB."""
    start_method: str | None
    time_limit: float | None
    """Seconds, for tasks that set none themselves."""
    soft_time_limit: float | None
    """Seconds, likewise."""
    health_port: int | None
    """Where ``/livez`` and ``/readyz`` are served; 0: at a free port."""
    health_host: str | None
    heartbeat_file: str | None
    """The file that is written every five seconds; ``%h``, ``%n``, ``%d`` as in ``hostname``."""
    statedb: str | None
    """The file that remembers what was revoked; ``%h``, ``%n`` and ``%d`` as in ``hostname``."""
    task_events: bool | None
    """Whether to send an event for every step of a task."""
    heartbeat_interval: float | None
    """Seconds."""
    without_heartbeat: bool
    without_mingle: bool
    without_gossip: bool
    purge: bool
    """Whether to drop what waits in the queues before starting."""
    quiet: bool
    """Whether to print nothing."""
    extra_options: Mapping[str, Any]
    """What else receivers of ``celeryd_init`` are told: of the log, and the app's own options."""
    beside: Sequence[Callable[[asyncio.Event], Awaitable[None]]]
    """What runs on the worker's loop as long as it works, for example a scheduler: ends when the
    event is set, and ends the worker when it fails."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments and the settings, resolved."""

    hostname: str
    pool: PoolKind
    guest: Any
    """The class of the program's own pool, or its name."""
    concurrency: int
    queues: tuple[str, ...] | None
    """None: every queue that the app knows."""
    exclude_queues: tuple[str, ...]
    prefetch_multiplier: int | None
    """None: as many as the pool takes, which depends on how long tasks are."""
    disable_prefetch: bool
    autoscale: tuple[int, int] | None
    """The most and the least slots; None: there are always as many."""
    autoscaler: Any
    """The class that decides, or its name."""
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    """KiB."""
    proc_alive_timeout: float
    """Seconds that a child process has to come up."""
    start_method: str | None
    time_limit: float | None
    soft_time_limit: float | None
    eta_task_limit: int | None
    soft_shutdown_timeout: float
    """Seconds that running tasks have to finish before a cold shutdown ends them."""
    max_deliveries: int | None
    """How often a message may be tried whose workers die; None: without end."""
    deduplicates: bool
    """Whether late-acknowledged tasks that have succeeded are left out when they come again."""
    health_port: int | None
    health_host: str
    heartbeat_file: str | None
    stall_timeout: float
    """Seconds that nothing may come while messages wait and slots are free; 0: for ever."""
    blocked_timeout: float
    """Seconds that messages are kept while nothing in this process moves; 0: for a lease."""
    store_delays: tuple[float, float | None]
    """Seconds before storing results is tried again: the first time, and at most (None: as the
    worker sees fit)."""
    store_retries: float
    """How often storing results is tried again; ``inf``: until it succeeds."""
    unsettled_limit: int
    """How many finished tasks may wait for servers that are away."""
    cancel_on_loss: bool
    """Whether late-acknowledged tasks are ended when their messages are lost."""
    soft_shutdown_on_idle: bool
    """Whether those seconds are waited even when nothing runs."""
    statedb: str | None
    task_events: bool
    heartbeat_interval: float | None
    """Seconds; None: the usual."""
    without_heartbeat: bool
    without_mingle: bool
    """Whether to start without asking the other workers what they know."""
    without_gossip: bool
    """Whether not to listen to the other workers."""
    connect_retries: float
    """How often a call is repeated whose server has gone away, before the worker ends."""
    retry_on_startup: bool
    """Whether to wait for a broker that is away when the worker starts."""
    purge: bool
    quiet: bool
    extra_options: Mapping[str, Any]

    def told(self) -> dict[str, Any]:
        """What receivers of ``celeryd_init`` see."""
        options: dict[str, Any] = msgspec.structs.asdict(self)
        options.update(options.pop("extra_options"))
        return options


def resolve(given: WorkerArguments, conf: Settings) -> WorkerOptions:
    """Merge arguments and settings.

    Raises:
        ImproperlyConfigured: There is no such pool, or the concurrency is not a number.
    """
    pool = _own_pool(given.get("pool") or conf.worker_pool)
    kind = pool_kind(pool)
    multiplier = given.get("prefetch_multiplier")
    if multiplier is None and conf.is_set("worker_prefetch_multiplier"):
        multiplier = conf.worker_prefetch_multiplier
    hostname = node_name(given.get("hostname"))
    heartbeat = _given(given.get("heartbeat_file"), conf.worker_heartbeat_file)
    statedb = _given(given.get("statedb"), conf.worker_state_db)
    scale = _scale(given.get("autoscale"), kind)
    concurrency = scale[1] if scale else _concurrency(given.get("concurrency"), conf, kind)
    return WorkerOptions(
        hostname=hostname,
        pool=kind,
        guest=pool if kind == "guest" else None,
        concurrency=concurrency,
        autoscale=scale,
        autoscaler=conf.worker_autoscaler,
        queues=_names(given.get("queues")),
        exclude_queues=_names(given.get("exclude_queues")) or (),
        prefetch_multiplier=multiplier or None,
        disable_prefetch=bool(_given(given.get("disable_prefetch"), conf.worker_disable_prefetch)),
        max_tasks_per_child=_given(
            given.get("max_tasks_per_child"), conf.worker_max_tasks_per_child
        )
        or None,
        max_memory_per_child=_given(
            given.get("max_memory_per_child"), conf.worker_max_memory_per_child
        )
        or None,
        proc_alive_timeout=conf.worker_proc_alive_timeout,
        start_method=given.get("start_method"),
        time_limit=given.get("time_limit"),
        soft_time_limit=given.get("soft_time_limit"),
        eta_task_limit=conf.worker_eta_task_limit,
        soft_shutdown_timeout=conf.worker_soft_shutdown_timeout or 0.0,
        max_deliveries=conf.task_max_deliveries,
        deduplicates=bool(conf.worker_deduplicate_successful_tasks),
        store_delays=_store_delays(conf),
        store_retries=conf.result_backend_max_retries,
        unsettled_limit=conf.result_buffer_max,
        cancel_on_loss=bool(conf.worker_cancel_long_running_tasks_on_connection_loss),
        soft_shutdown_on_idle=bool(conf.worker_enable_soft_shutdown_on_idle),
        health_port=_given(given.get("health_port"), conf.worker_health_port),
        health_host=_given(given.get("health_host"), conf.worker_health_host),
        heartbeat_file=node_format(heartbeat, hostname) if heartbeat else None,
        stall_timeout=conf.worker_stall_timeout or 0.0,
        blocked_timeout=conf.worker_blocked_timeout or 0.0,
        statedb=node_format(statedb, hostname) if statedb else None,
        task_events=bool(_given(given.get("task_events"), conf.worker_send_task_events)),
        heartbeat_interval=given.get("heartbeat_interval"),
        without_heartbeat=given.get("without_heartbeat", False),
        without_mingle=given.get("without_mingle", False),
        without_gossip=given.get("without_gossip", False),
        retry_on_startup=_retries_on_startup(conf),
        connect_retries=_connect_retries(conf),
        purge=given.get("purge", False),
        quiet=given.get("quiet", False),
        extra_options=given.get("extra_options") or {},
    )


def _retries_on_startup(conf: Settings) -> bool:
    on_startup: bool | None = conf.broker_connection_retry_on_startup
    return bool(conf.broker_connection_retry) if on_startup is None else on_startup


def _store_delays(conf: Settings) -> tuple[float, float | None]:
    """The longest one only where somebody has chosen it: ten seconds is long for a result that
    somebody waits for."""
    longest: float | None = conf.result_backend_max_sleep_between_retries_ms / 1000
    if not conf.is_set("result_backend_max_sleep_between_retries_ms"):
        longest = None if conf.result_backend_max_retries == inf else longest
    return conf.result_backend_base_sleep_between_retries_ms / 1000, longest


def _connect_retries(conf: Settings) -> float:
    """Without end, unless somebody has set an end: a worker that gives up helps nobody."""
    if not conf.broker_connection_retry:
        return 0
    if not conf.is_set("broker_connection_max_retries"):
        return inf
    return conf.broker_connection_max_retries or inf


def pool_kind(name: Any) -> PoolKind:
    """Which of our pools a name means, Celery's names included; else whether it is a class that
    the program has, or the path of one.

    Raises:
        ImproperlyConfigured: None of them.

    >>> pool_kind("processes")
    'prefork'
    """
    kind = _KIND_BY_NAME.get(name)
    if kind is not None:
        return kind
    if not isinstance(name, str) or ":" in name or "." in name:
        return "guest"
    message = (
        f"{name!r} is not a pool. There are prefork, threads, asyncio, gevent, eventlet and solo; "
        "one of your own is named by its path, as in 'my.module:MyPool'."
    )
    raise ImproperlyConfigured(message)


def _own_pool(name: Any) -> Any:
    """What ``custom`` stands for.

    Source:
        Celery's user guide, Concurrency, "Custom": the environment variable.
    """
    return os.environ.get("CELERY_CUSTOM_WORKER_POOL", name) if name == "custom" else name


def node_name(given: str | None, *, host: str | None = None) -> str:
    """The worker's name among all workers: ``name@host``.

    Args:
        given: ``name@host`` or ``name``; ``%h`` stands for the host, ``%n`` for its first part,
            ``%d`` for the rest. None: ``celery`` on this host.
        host: This host, unless the machine knows best.

    Source:
        Celery user guide, Workers, "Starting the worker": the three variables.

    >>> node_name("mail@%h", host="a1.example.com")
    'mail@a1.example.com'
    >>> node_name(None, host="a1")
    'celery@a1'
    """
    full = host or socket.gethostname()
    short, _, domain = full.partition(".")
    value_by_variable = {"%h": full, "%n": short, "%d": domain, "%%": "%"}
    expanded = re.sub("%[hnd%]", lambda found: value_by_variable[found[0]], given or "celery")
    name, at, place = expanded.partition("@")
    return f"{name or 'celery'}@{place}" if at and place else f"{name or 'celery'}@{full}"


def _scale(given: tuple[int, int] | str | None, kind: PoolKind) -> tuple[int, int] | None:
    """The most and the least.

    >>> _scale("10,3", "prefork"), _scale("4", "threads")
    ((10, 3), (4, 0))
    """
    if given is None:
        return None
    if kind == "solo":
        raise ImproperlyConfigured("the solo pool runs one task at a time: it cannot autoscale.")
    parts = given.split(",") if isinstance(given, str) else given
    try:
        most, least = (*map(int, parts), 0)[:2]
    except ValueError:
        most = least = -1
    if len(parts) > 2 or not 0 <= least <= most or most < 1:
        raise ImproperlyConfigured(
            f"autoscale must be the most and the least processes, as in 10,3; not {given!r}."
        )
    return most, least


def _given(argument: Any, setting: Any) -> Any:
    return setting if argument is None else argument


def _names(given: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if not given:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(name for part in parts if (name := part.strip()))


def _concurrency(asked: int | str | None, conf: Settings, kind: PoolKind) -> int:
    given = _given(asked, conf.worker_concurrency)
    if kind == "solo":
        return 1
    if given is None or given in ("", 0, "0"):
        return _ASYNCIO_CONCURRENCY if kind == "asyncio" else os.cpu_count() or 1
    if is_auto_concurrency(given):
        return cpu_budget().count
    try:
        size = int(given)
    except ValueError:
        size = 0
    if size < 1:
        message = f"concurrency must be a number from 1, or 'auto', not {given!r}."
        raise ImproperlyConfigured(message)
    return size
