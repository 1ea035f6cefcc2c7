"""What chains, groups and chords have in common: they are sent as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel.canvas import eager
from umbel.canvas.outcomes import result_of
from umbel.canvas.plan import is_mapping
from umbel.canvas.sender import Sender, default_sender
from umbel.canvas.signature import Signature, given_options
from umbel.result.blocking import allow_join_result

__all__ = ["Composition"]


class Composition(Signature):
    """A signature of several tasks."""

    @property
    def tasks(self) -> Any:
        """The signatures that it is made of."""
        return self.kwargs["tasks"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["tasks"] = value

    @property
    def app(self) -> Sender:
        """The app it is sent by: its own, that of its first task that has one, the current one."""
        app = self.own_app()
        return default_sender(self) if app is None else app

    def own_app(self) -> Sender | None:
        """Its app, or that of its first task; None: neither has any."""
        return self._app or app_of(first_of(self.tasks))

    # -- calling

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send what of it starts now; workers see to the rest.

        Args:
            args: Go before the arguments of the tasks that start now.
            options: For the tasks that start now; ``task_id``, ``link`` and ``link_error`` as for
                the whole.

        Returns:
            The result of the task that it ends in, with those before as parents; a
            ``GroupResult``; None when there is nothing to send.
        """
        given = given_options(options, route_name)
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **given)
        return self.app.start_workflow(self, args, kwargs, given)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """:meth:`apply_async`, without blocking the running loop."""
        given = given_options(options, route_name)
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **given)
        return await self.app.astart_workflow(self, args, kwargs, given)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run all of it here and now, one task after the other.

        Raises:
            Exception: What a task raised whose value another one needs.
        """
        app = self.app
        node = app.plan(self, given_options(options))
        if node is None:
            return None
        with allow_join_result():
            return eager.run(node, args or (), kwargs or {}, app)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all its tasks, and its place in a workflow; returns its result to come."""
        self.fix_ids(_id)
        place = {
            "group_id": group_id,
            "chord": chord,
            "root_id": root_id,
            "parent_id": parent_id,
            "group_index": group_index,
        }
        self.options.update({name: value for name, value in place.items() if value is not None})
        app = self.app
        node = app.plan(self)
        return None if node is None else result_of(node, app)

    def merge(
        self, args: Any, kwargs: Any, options: Any, *, force: bool = False
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """All of a call. Keyword arguments are for its tasks, and not part of it."""
        args, _, options = super().merge(args, None, options, force=force)
        return args, dict(self.kwargs), options


def first_of(tasks: Any) -> Any:
    """The first of some tasks, or None; of a generator, no more is read."""
    if is_mapping(tasks):
        return tasks
    if hasattr(tasks, "first"):
        return tasks.first()
    return tasks[0] if tasks else None


def app_of(task: Any) -> Sender | None:
    """The app that a signature belongs to, if it belongs to one."""
    if isinstance(task, Composition):
        return task.own_app()
    if isinstance(task, Signature):
        return task.bound_app()
    return None
