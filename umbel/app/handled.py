"""The part of a task that is for workers: how they treat its messages, and what they call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.execution.stacks import RequestStack

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Handled"]

_OURS = "umbel.worker.strategy:default"
_HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Handled:
    """How workers treat the messages of a task, what runs of it there are, and what they call
    before and after each.

    Source:
        Celery reference, ``celery.app.task.Task``: ``Strategy``, ``Request``, ``request_stack``,
        handlers.
    """

    Strategy: Any = _OURS
    """What a worker does with its messages: see :mod:`umbel.worker.strategy`."""
    Request: Any = "umbel.worker.request:Request"
    """The class of its requests in a worker."""

    @property
    def app(self) -> Umbel:
        """The app it is registered with."""
        raise NotImplementedError

    def _get_app(self) -> Umbel:
        """What packages with task classes of their own say for :attr:`app`."""
        return self.app

    @property
    def has_strategy(self) -> bool:
        """Whether workers do something else with its messages than to run it."""
        named = self.Strategy
        return not (isinstance(named, str) and named in {_OURS, "celery.worker.strategy:default"})

    @property
    def backend(self) -> Any:
        """The app's result backend, under Celery's names."""
        return self.app.backend

    @property
    def request_stack(self) -> RequestStack:
        """The calls of the task that run here."""
        return RequestStack(self)

    @property
    def listens(self) -> frozenset[str]:
        """Which handlers are overridden; the others need not be called."""
        kind = type(self)
        return frozenset(
            name
            for name in _HANDLERS
            if getattr(kind, name) is not getattr(Handled, name) or name in self.__dict__
        )

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker when the task has returned."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker when the task has failed."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker when the task is to be tried again."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker when the task has ended, well or badly."""
