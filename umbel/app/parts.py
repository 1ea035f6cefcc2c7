"""What an app consists of, and what follows from its configuration."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, TypeVar

from umbel.app.configuring.zones import zone_of
from umbel.app.connecting import drivers
from umbel.app.sending.ids import new_id

if TYPE_CHECKING:
    from umbel.app.configuring.settings import Settings
    from umbel.app.connecting.connections import Connections
    from umbel.app.connecting.portal import Portal
    from umbel.app.registry import TaskRegistry
    from umbel.app.sending.producer import Producer
    from umbel.app.sending.router import Router
    from umbel.app.task import Task
    from umbel.protocols import Clock

__all__ = ["Parts"]

T = TypeVar("T")


class Parts:
    """The parts of an app, which its constructor makes; and its addresses and time zone."""

    main: str | None
    project: str
    """The folder that the app was made in, and its main name; names its default database."""
    conf: Settings
    wall_clock: Clock
    portal: Portal
    """Runs coroutines for synchronous callers."""
    connections: Connections
    producer: Producer
    router: Router
    periodic: dict[str, dict[str, Any]]
    """What ``add_periodic_task`` was told, by the entry's name; beside ``beat_schedule``."""
    backend_cls: Any = None
    """A result backend made for Celery, as a class or its name: instead of ``result_backend``."""
    strict_typing: bool
    finalized: bool
    """Whether the tasks are complete: discovered, shared ones made, annotated."""
    _finalizing: bool
    _tasks: TaskRegistry
    # Held while the app is finalized.
    _mutex: threading.RLock
    # Held while a task is made: two threads that share one make it once.
    _registering: threading.RLock
    # What follows from the configuration, with the version that it follows from.
    _derived: dict[str, tuple[object, Any]]

    def _derive(self, name: str, make: Callable[[Settings], T]) -> T:
        kept = self._derived.get(name)
        if kept is not None and kept[0] is self.conf.version:
            value: T = kept[1]
            return value
        made = make(self.conf)
        self._derived[name] = (self.conf.version, made)
        return made

    @property
    def timezone(self) -> tzinfo:
        """The time zone of moments that do not say one: UTC unless configured."""
        return self._derive("timezone", lambda conf: zone_of(conf.timezone, conf.enable_utc))

    def uses_utc_timezone(self) -> bool:
        """Whether :attr:`timezone` is UTC."""
        return str(self.timezone) == "UTC"

    def known_task(self, name: str) -> Task[..., Any] | None:
        """The task of that name, if it is there already; does not finalize the app."""
        return self._tasks.get(name)

    def select_queues(self, queues: str | Sequence[str] | None = None) -> None:
        """Have the workers of this process consume from these queues only."""
        self.router.queues.select(queues)

    def now(self) -> datetime:
        """The time now, in :attr:`timezone`."""
        return self.wall_clock.now().astimezone(self.timezone)

    @property
    def broker_url(self) -> str:
        """Where tasks are sent to; the project's own database file by default."""
        return self.conf.broker_write_url or self.conf.broker_url or drivers.DEFAULT_URL

    @property
    def broker_read_url(self) -> str:
        """Where workers take tasks from."""
        return self.conf.broker_read_url or self.conf.broker_url or drivers.DEFAULT_URL

    @property
    def backend_url(self) -> str:
        """Where results are kept: ``result_backend``, else the broker where it can keep them."""
        if self.backend_cls is not None:
            named = self.backend_cls
            return named if isinstance(named, str) else f"{named.__module__}:{named.__qualname__}"
        if self.conf.is_set("result_backend"):
            url = self.conf.result_backend
            return drivers.DISABLED if url in {None, "", "disabled"} else str(url)
        return self.broker_url if drivers.keeps_results(self.broker_url) else drivers.DISABLED

    @property
    def oid(self) -> str:
        """The address of this process for replies."""
        kept = self._derived.get("oid")
        if kept is None or kept[0] != os.getpid():
            kept = self._derived["oid"] = (os.getpid(), new_id())
        return str(kept[1])

    thread_oid = oid

    @property
    def origin(self) -> str:
        """Who sends tasks from here: ``gen<pid>@<host>``."""
        kept = self._derived.get("origin")
        if kept is None or kept[0] != os.getpid():
            host = os.uname().nodename if hasattr(os, "uname") else os.environ["COMPUTERNAME"]
            kept = self._derived["origin"] = (os.getpid(), f"gen{os.getpid()}@{host}")
        return str(kept[1])
