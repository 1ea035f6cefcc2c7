"""Workers and tasks, as events tell of them.

Source:
    Celery reference, ``celery.events.state``: attributes and what events do to them.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from umbel import states
from umbel.clock import SystemClock

if TYPE_CHECKING:
    from umbel.events.state import State

__all__ = ["Task", "Worker", "heartbeat_expires"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
_EXPIRE_WINDOW = 200
"""Percent of the time between two heartbeats after which a worker counts as gone."""
_DRIFT = 16
"""Seconds between an event and its arrival from which on somebody's clock must be wrong."""
_DRIFTING_KEPT = 1000

_drifting: set[str] = set()
"""The workers whose clocks have been complained about."""

_STATE_BY_EVENT = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


def heartbeat_expires(
    timestamp: float, freq: float = 60, expire_window: float = _EXPIRE_WINDOW
) -> float:
    """When a worker that was heard of at ``timestamp`` counts as gone, in Unix seconds.

    >>> heartbeat_expires(100.0, freq=2)
    104.0
    """
    return float(timestamp) + float(freq) * expire_window / 100


class Worker:
    """A worker."""

    heartbeat_max: ClassVar[int] = 4
    expire_window: ClassVar[float] = _EXPIRE_WINDOW
    _fields: ClassVar[tuple[str, ...]] = (
        *("hostname", "pid", "freq", "heartbeats", "clock", "active", "processed"),
        *("loadavg", "sw_ident", "sw_ver", "sw_sys"),
    )

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: Any = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        self.heartbeats: list[float] = [] if heartbeats is None else heartbeats
        """When it was heard of last, the latest at the end; Unix seconds, by our clock."""
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take note of an event, ``type_`` being what follows ``worker-``."""
        self.update(fields or {})
        if type_ == "offline":
            self.heartbeats.clear()
        elif timestamp and local_received:
            self._check_clock(timestamp, local_received)
            insort(self.heartbeats, local_received)
            del self.heartbeats[: -self.heartbeat_max]

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            # Fields are what others write: none may take the place of a method.
            if not callable(getattr(type(self), name, None)) and not hasattr(
                getattr(type(self), name, None), "__get__"
            ):
                setattr(self, name, value)

    def _check_clock(self, timestamp: float, local_received: float) -> None:
        drift = abs(int(local_received) - int(timestamp))
        if drift > _DRIFT and self.hostname not in _drifting and len(_drifting) < _DRIFTING_KEPT:
            _drifting.add(self.hostname or "")
            logger.warning(
                "Substantial drift from %s may mean clocks are out of sync.  Current drift is "
                "%s seconds.  [orig: %s recv: %s]",
                self.hostname,
                drift,
                datetime.fromtimestamp(timestamp, UTC),
                datetime.fromtimestamp(local_received, UTC),
            )

    @property
    def status_string(self) -> str:
        """``ONLINE`` or ``OFFLINE``."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as gone unless it is heard of again."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether it has been heard of lately."""
        return bool(self.heartbeats) and _CLOCK.time() < self.heartbeat_expires

    @property
    def id(self) -> str:
        """Node name and process."""
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self._fields)


class Task:
    """A task."""

    name: Any = None
    received: Any = None
    sent: Any = None
    started: Any = None
    succeeded: Any = None
    failed: Any = None
    retried: Any = None
    revoked: Any = None
    rejected: Any = None
    args: Any = None
    kwargs: Any = None
    eta: Any = None
    expires: Any = None
    retries: Any = None
    worker: Any = None
    result: Any = None
    exception: Any = None
    timestamp: Any = None
    runtime: Any = None
    traceback: Any = None
    exchange: Any = None
    routing_key: Any = None
    root_id: Any = None
    parent_id: Any = None
    client: Any = None
    state: str = states.PENDING
    clock: int = 0

    _fields: ClassVar[tuple[str, ...]] = (
        *("uuid", "name", "state", "received", "sent", "started", "rejected", "succeeded"),
        *("failed", "retried", "revoked", "args", "kwargs", "eta", "expires", "retries"),
        *("worker", "result", "exception", "timestamp", "runtime", "traceback", "exchange"),
        *("routing_key", "clock", "client", "root", "root_id", "parent", "parent_id", "children"),
    )
    _info_fields: ClassVar[tuple[str, ...]] = (
        *("args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception"),
        *("exchange", "routing_key", "root_id", "parent_id"),
    )
    merge_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        states.RECEIVED: (
            *("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
        ),
    }
    """What is still taken from an event that comes after one it should have come before."""

    def __init__(
        self,
        uuid: str | None = None,
        cluster_state: State | None = None,
        children: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        self.children: WeakSet[Task] = WeakSet()
        if cluster_state is not None:
            for id in children or ():
                child = cluster_state.tasks.peek(id)
                if child is not None:
                    self.children.add(child)
        # What was pickled as ids is found again by them.
        kwargs.pop("root", None)
        kwargs.pop("parent", None)
        self.__dict__.update(kwargs)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take note of an event, ``type_`` being what follows ``task-``."""
        state = _STATE_BY_EVENT.get(type_)
        news = dict(fields or {})
        if state is None:
            state = type_.upper()
        else:
            setattr(self, type_, timestamp)
        is_late = states.RETRY not in {state, self.state} and (
            states.precedence(state) > states.precedence(self.state)
        )
        if is_late:
            kept = self.merge_rules.get(state)
            if kept is not None:
                news = {name: value for name, value in news.items() if name in kept}
        else:
            news.update(state=state, timestamp=timestamp)
        self.__dict__.update(news)

    def info(
        self, fields: Iterable[str] | None = None, extra: Iterable[str] = ()
    ) -> dict[str, Any]:
        """What there is to show."""
        names = [*(self._info_fields if fields is None else fields), *extra]
        return {name: value for name in names if (value := getattr(self, name, None)) is not None}

    def as_dict(self) -> dict[str, Any]:
        """All fields; other tasks as their ids."""
        related: dict[str, Callable[[], Any]] = {
            "children": lambda: [child.id for child in self.children],
            "root": lambda: self.root_id,
            "parent": lambda: self.parent_id,
        }
        return {
            name: related[name]() if name in related else getattr(self, name)
            for name in self._fields
        }

    @property
    def id(self) -> str | None:
        """The task id."""
        return self.uuid

    @property
    def origin(self) -> Any:
        """Who told of it: the worker, or the client."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in states.READY_STATES

    @property
    def parent(self) -> Task | None:
        """The task that sent it."""
        return self._related(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The task that it all began with."""
        return self._related(self.root_id)

    def _related(self, id: Any) -> Task | None:
        if not id or self.cluster_state is None:
            return None
        return self.cluster_state.tasks.peek(id)

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _task_again, (type(self), self.as_dict())


def _task_again(kind: type[Task], fields: Mapping[str, Any]) -> Task:
    return kind(**fields)
