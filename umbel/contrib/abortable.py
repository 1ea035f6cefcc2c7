"""Tasks that can be asked to end.

::

    @app.task(bind=True, base=AbortableTask)
    def import_all(self, paths):
        for path in paths:
            if self.is_aborted():
                return "aborted"
            import_one(path)


    result = import_all.delay(paths)
    result.abort()

Asking stores a state, which the task looks for when it suits it: a task that never looks runs to
its end. It needs a result backend that can be read by the task, which ``rpc://`` cannot.

Source:
    Celery reference, ``celery.contrib.abortable``: names and the state.
"""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar, cast

from umbel.app.base import Umbel
from umbel.app.task import Task
from umbel.model import Message, Request
from umbel.result import AsyncResult, EagerResult

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

P = ParamSpec("P")
R = TypeVar("R")

# Inside a task's class the name means the method.
_Result = AsyncResult

ABORTED = "ABORTED"
"""The task was asked to end. It has not ended yet: results in this state are not ready."""


class AbortableAsyncResult(AsyncResult[R]):
    """The result of a task that can be asked to end."""

    def is_aborted(self) -> bool:
        """Whether the task was asked to end, and has not ended yet."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to end. One that has ended keeps its result."""
        app = cast("Umbel", self._source())
        message = Message(id=self.id, body=b"")
        request = Request(key=0, id=self.id, task=self._name or "", message=message)
        app.tools.store([app.codec.state(request, ABORTED, None)])


class AbortableTask(Task[P, R]):
    """The base of tasks that look at :meth:`is_aborted` now and then."""

    abstract = True
    # The state STARTED would take the place of ABORTED where the task was aborted before it runs.
    track_started = False

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult[R]:  # noqa: N802
        """The result of a call of this task, by its id."""
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AbortableAsyncResult[R]:
        """Send the task to a worker."""
        return self.apply_async(args, kwargs)

    def apply_async(self, *args: Any, **options: Any) -> AbortableAsyncResult[R]:
        """Send the task to a worker, with options: those of :meth:`Task.apply_async`."""
        return self._abortable(super().apply_async(*args, **options))

    async def aapply_async(self, *args: Any, **options: Any) -> AbortableAsyncResult[R]:
        """:meth:`apply_async`, without blocking the running loop."""
        return self._abortable(await super().aapply_async(*args, **options))

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether this run was asked to end. Asks the result backend: not to be called at every
        turn of a tight loop.

        Args:
            kwargs: ``task_id``: of another call instead.
        """
        task_id = kwargs.get("task_id") or self.request.id
        return task_id is not None and self.AsyncResult(task_id).is_aborted()

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **_: object
    ) -> None:
        """Store a state of one's own, unless the run was asked to end: that would be forgotten."""
        if not self.is_aborted(task_id=task_id):
            super().update_state(task_id, state, meta)

    def _abortable(self, result: _Result[R]) -> AbortableAsyncResult[R]:
        if isinstance(result, EagerResult):
            # It has ended; nobody can abort it any more.
            return cast("AbortableAsyncResult[R]", result)
        made = self.AsyncResult(result.id, parent=result.parent)
        made.ignored = result.ignored
        return made
