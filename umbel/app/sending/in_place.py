"""Running a task here and now, as a worker would: ``apply``, and ``task_always_eager``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.result import EagerResult

if TYPE_CHECKING:
    from umbel.app.task import Task
    from umbel.wire.call import Call

__all__ = ["run_in_place"]


def run_in_place(
    task: Task[..., Any], call: Call, *, throw: bool | None, serialize: bool = True
) -> EagerResult[Any]:
    """Run a call of a task; returns its finished result.

    Args:
        throw: Whether a failure is raised; None: ``task_eager_propagates``.
        serialize: Whether arguments go through their serializer, as on their way to a worker.
    """
    # Producers run nothing themselves: what runs tasks, and logging, take 8 ms to import.
    from umbel.execution import eager

    app = task.app
    state, value, traceback = eager.apply(
        task,
        call,
        app.tools,
        throw=app.conf.task_eager_propagates if throw is None else bool(throw),
        serialize=serialize,
    )
    return EagerResult(call.id, value, state, traceback, task.name)
