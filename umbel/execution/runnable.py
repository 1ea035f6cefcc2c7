"""What running a task needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

__all__ = ["Runnable", "TaskOptions"]


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A task's options, resolved: the task's own where it has any, else the app's."""

    serializer: str = "json"
    compression: str | None = None
    rate_limit: str | float | None = None
    priority: int | None = None
    expires: float | None = None
    """Seconds."""
    time_limit: float | None = None
    """Seconds."""
    soft_time_limit: float | None = None
    """Seconds."""
    ignore_result: bool = False
    store_errors_even_if_ignored: bool = False
    store_eager_result: bool = False
    acks_late: bool = False
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = False
    retry_on_worker_lost: bool = False
    track_started: bool = False
    throws: tuple[type[BaseException], ...] = ()
    max_retries: int | None = 3
    default_retry_delay: float = 180.0
    """Seconds."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: float | bool = False
    """Seconds of the first delay; True means 1."""
    retry_backoff_max: float = 600.0
    """Seconds."""
    retry_jitter: bool = True
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    delivery_mode: int | None = None
    trail: bool = True
    typing: bool = True
    send_events: bool = True
    resultrepr_maxsize: int = 1024


class Runnable(Protocol):
    """A task, as seen by what runs it. ``umbel.app.task.Task`` is one."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def options(self) -> TaskOptions:
        """Its options, as they are now."""
        ...

    @property
    def is_coroutine(self) -> bool:
        """Whether :attr:`entry` is a coroutine function."""
        ...

    @property
    def entry(self) -> Callable[..., Any]:
        """What to call with the arguments: ``run``, or ``__call__`` where it is overridden."""
        ...

    @property
    def listens(self) -> frozenset[str]:
        """Which handlers the task overrides: the others need not be called.

        Some of ``before_start``, ``on_success``, ``on_failure``, ``on_retry``, ``after_return``.
        """
        ...

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Told before it runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Told when it has returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Told when it has failed."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Told when it is to be tried again."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Told when it has ended, well or badly."""
