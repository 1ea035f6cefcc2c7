"""``BasePool``: what pools that programs bring along are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["BasePool"]


class BasePool:
    """A pool, as extensions of a worker see it, and as Celery has its pools.

    One of your own overrides :meth:`on_apply`, which has ``target`` called somewhere and tells
    ``callback`` what that returned; and :meth:`on_start`, :meth:`on_stop`. A worker uses it with
    ``worker_pool = "module:Class"``.

    Source:
        Celery reference, ``celery.concurrency.base.BasePool``: names, arguments, what calls what.
    """

    RUN, CLOSE, TERMINATE = 1, 2, 3
    is_green = False
    signal_safe = True
    uses_semaphore = False
    task_join_will_block = True
    body_can_be_buffer = False
    _state: int | None = None
    _pool: Any = None

    def __init__(
        self,
        limit: int | None = None,
        putlocks: bool = True,
        forking_enable: bool = True,
        callbacks_propagate: Sequence[type[BaseException]] = (),
        app: Any = None,
        **options: Any,
    ) -> None:
        """Make one.

        Args:
            limit: How many may run at once.
            options: What else the worker says: ``maxtasksperchild``, ``timeout`` and the like.
        """
        self.limit = limit
        self.putlocks = putlocks
        self.forking_enable = forking_enable
        self.callbacks_propagate = callbacks_propagate
        self.app = app
        self.options = options

    # -- its life, as the worker has it

    def start(self) -> None:
        """Be ready: calls :meth:`on_start`."""
        self.on_start()
        self._state = self.RUN

    def close(self) -> None:
        """Take no more: calls :meth:`on_close`."""
        self._state = self.CLOSE
        self.on_close()

    def stop(self) -> None:
        """Let what runs finish, and end: calls :meth:`on_stop`."""
        self.on_stop()
        self._state = self.TERMINATE

    def terminate(self) -> None:
        """End now: calls :meth:`on_terminate`."""
        self._state = self.TERMINATE
        self.on_terminate()

    def apply_async(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Have ``target`` called: calls :meth:`on_apply`.

        Args:
            options: ``accept_callback(pid, when)``, to be called when it begins;
                ``callback(value)`` and ``error_callback(error)``, when it has ended;
                ``timeout_callback(soft, seconds)``; ``timeout`` and ``soft_timeout``, seconds.
        """
        return self.on_apply(
            target,
            args or [],
            kwargs or {},
            waitforslot=self.putlocks,
            callbacks_propagate=self.callbacks_propagate,
            **options,
        )

    # -- what a pool of one's own overrides

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Have a function called; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no on_apply")

    def on_start(self) -> None:
        """It is started."""

    def on_close(self) -> None:
        """It takes no more."""

    def on_stop(self) -> None:
        """It ends, when what runs has finished."""

    def on_terminate(self) -> None:
        """It ends now."""

    def on_soft_timeout(self, job: Any) -> None:
        """The soft time limit of a job is over."""

    def on_hard_timeout(self, job: Any) -> None:
        """The time limit of a job is over."""

    def did_start_ok(self) -> bool:
        """Whether :meth:`start` has worked."""
        return True

    def maintain_pool(self, *args: Any, **kwargs: Any) -> None:
        """Replace what has ended."""

    def flush(self) -> None:
        """Send what waits."""

    def register_with_event_loop(self, loop: Any) -> None:
        """It may have the event loop look at its files."""

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """End what runs in a process."""
        raise NotImplementedError(f"{type(self)} does not implement kill_job")

    def restart(self) -> None:
        """Replace what runs tasks."""
        raise NotImplementedError(f"{type(self)} does not implement restart")

    @property
    def num_processes(self) -> int | None:
        """How many may run at once."""
        return self.limit

    @property
    def active(self) -> bool:
        """Whether it takes calls."""
        return self._state == self.RUN

    @property
    def info(self) -> dict[str, Any]:
        """What ``inspect stats`` says of it."""
        return self._get_info()

    def _get_info(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "implementation": f"{kind.__module__}:{kind.__name__}",
            "max-concurrency": self.limit,
        }
