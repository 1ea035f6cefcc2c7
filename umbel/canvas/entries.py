"""The entries of a signature, as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umbel.canvas.sender import Sender, default_sender

__all__ = ["Entries"]


class Entries(dict[str, Any]):
    """What a signature says: which task, with which arguments, how."""

    _app: Sender | None = None
    _type: Any = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self["task"])

    @task.setter
    def task(self, value: str) -> None:
        self["task"] = value

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task

    @property
    def args(self) -> Sequence[Any]:
        """The positional arguments so far."""
        found: Sequence[Any] = self.setdefault("args", ())
        return found

    @args.setter
    def args(self, value: Sequence[Any]) -> None:
        self["args"] = value

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments so far."""
        found: dict[str, Any] = self.setdefault("kwargs", {})
        return found

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self["kwargs"] = value

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``apply_async`` so far."""
        found: dict[str, Any] = self.setdefault("options", {})
        return found

    @options.setter
    def options(self, value: dict[str, Any]) -> None:
        self["options"] = value

    @property
    def subtask_type(self) -> str | None:
        """What kind of composition it is; None: a plain task."""
        found: str | None = self.get("subtask_type")
        return found

    @property
    def immutable(self) -> bool:
        """Whether it takes no more arguments."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> str | None:
        """The id its task will have, once it is frozen."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task it is sent by, once it is frozen."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of the workflow, once it is frozen."""
        return self.options.get("root_id")

    @property
    def app(self) -> Sender:
        """The app it is sent by: its own, its task's, or the current one."""
        app = self.bound_app()
        return default_sender(self) if app is None else app

    def bound_app(self) -> Sender | None:
        """Its own app, or its task's; None: it belongs to none."""
        if self._app is not None:
            return self._app
        app: Sender | None = getattr(self._type, "app", None)
        return app

    @property
    def type(self) -> Any:
        """The task itself.

        Raises:
            NotRegistered: It is not known here.
        """
        return self._type if self._type is not None else self.app.tasks[self.task]
