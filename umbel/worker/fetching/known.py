"""The tasks that a worker can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from umbel.execution.runnable import Runnable, TaskOptions
from umbel.model import Delivery, Request

__all__ = ["KnownTasks"]


class KnownTasks:
    """The options of the tasks that are registered here, looked up once."""

    def __init__(self, tasks: Mapping[str, Runnable]) -> None:
        self._tasks = tasks
        self._options_by_task: dict[str, TaskOptions] = {}

    def task(self, name: str) -> Runnable | None:
        """The task of that name."""
        return self._tasks.get(name)

    def forget(self, name: str) -> None:
        """Its options have changed."""
        self._options_by_task.pop(name, None)

    def of(self, arrived: Sequence[tuple[Request, Delivery]]) -> Mapping[str, TaskOptions]:
        """The options by name: at least those of all tasks that the requests name and we have."""
        known = self._options_by_task
        for name in {request.task for request, _ in arrived}.difference(known):
            task = self._tasks.get(name)
            if task is not None:
                known[name] = task.options
        return known
