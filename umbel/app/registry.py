"""Name → task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.exceptions import InvalidTaskError, NotRegistered

if TYPE_CHECKING:
    from umbel.app.task import Task

__all__ = ["TaskRegistry"]


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """The tasks of an app by name. No code ever travels, only these names."""

    NotRegistered = NotRegistered

    def __missing__(self, key: str) -> Task[..., Any]:
        raise NotRegistered(key)

    def register(self, task: Task[..., Any]) -> None:
        """Add a task under its own name.

        Raises:
            InvalidTaskError: It has none.
        """
        if not task.name:
            message = f"task class {type(task).__name__!r} must specify .name attribute"
            raise InvalidTaskError(message)
        self[task.name] = task

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task, by name or itself.

        Raises:
            NotRegistered: There is none of that name.
        """
        key = name if isinstance(name, str) else str(name.name)
        if self.pop(key, None) is None:
            raise NotRegistered(key)

    def regular(self) -> dict[str, Task[..., Any]]:
        """The tasks that are not periodic, by name."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Task[..., Any]]:
        """The periodic tasks, by name."""
        return self.filter_types("periodic")

    def filter_types(self, type: str) -> dict[str, Task[..., Any]]:
        """The tasks whose attribute ``type`` is that one; it is ``regular`` unless they say."""
        return {
            name: task for name, task in self.items() if getattr(task, "type", "regular") == type
        }
