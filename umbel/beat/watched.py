"""What others put around ``Scheduler.apply_entry``: monitors of periodic tasks do.

umbel's own scheduler does not send by that method: a message is published in the transaction that
says it is due. Where the method has been replaced, it is called with each entry before its message
is made, and what it does to the entry counts.

Source:
    sentry-sdk's Celery integration replaces it to announce runs to its monitors, and to let the
    task know of that by headers in the entry's options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.beat.entry import ScheduleEntry
from umbel.beat.scheduler import Scheduler

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.schedules.plan import Plan

__all__ = ["is_watched", "seen"]

_own = Scheduler.apply_entry


def is_watched() -> bool:
    """Whether anybody has replaced the method."""
    return Scheduler.apply_entry is not _own


def seen(app: Umbel, plan: Plan) -> dict[str, Any]:
    """The options of an entry's task, as they are once everybody has seen the entry.

    Raises:
        Exception: What has replaced the method has raised it.
    """
    entry = ScheduleEntry(
        name=plan.name,
        task=plan.task,
        schedule=plan.schedule,
        args=plan.args,
        kwargs=dict(plan.kwargs),
        options=dict(plan.options),
        app=app,
    )
    _Shown(app).apply_entry(entry)
    return dict(entry.options)


class _Shown(Scheduler):
    """Stands for the scheduler: sends nothing, and says nothing of it."""

    announces = False

    def __init__(self, app: Umbel) -> None:
        super().__init__(app, lazy=True)

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **_kwargs: Any
    ) -> Any:
        """Nothing: the message is made later."""
