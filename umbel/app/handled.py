"""The part of a task that is for workers and what is added to them, under Celery's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.execution.stacks import RequestStack

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Handled"]

_OURS = "umbel.worker.strategy:default"


class Handled:
    """How workers treat the messages of a task, and what runs of it there are.

    Source:
        Celery reference, ``celery.app.task.Task``: ``Strategy``, ``Request``, ``request_stack``.
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
