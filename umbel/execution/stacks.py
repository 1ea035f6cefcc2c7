"""What runs here, as Celery's two stacks: of tasks, and of a task's requests."""

from __future__ import annotations

from typing import Any

from umbel.execution import context
from umbel.execution.context import Context

__all__ = ["RequestStack", "TaskStack"]


class TaskStack:
    """The tasks that run here, the innermost on top: ``celery._state._task_stack``."""

    def push(self, task: Any) -> None:
        """Let a task be the one that runs, until :meth:`pop`."""
        context.push(task, Context())

    def pop(self) -> Any:
        """Undo :meth:`push`; returns the task."""
        task = self.top
        context.pop()
        return task

    @property
    def top(self) -> Any:
        """The one that runs, or None."""
        return context.current_task()


class RequestStack:
    """The requests of one task: ``Task.request_stack``."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def push(self, request: Context) -> None:
        """Let a request be the task's, until :meth:`pop`."""
        context.push(self._task, request)

    def pop(self) -> Context | None:
        """Undo :meth:`push`; returns the request."""
        return context.pop()

    @property
    def top(self) -> Context:
        """The innermost one; an empty one where there is none."""
        return context.of(self._task)
