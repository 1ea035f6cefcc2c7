"""Entries as Celery's schedulers have them, for those that are made for Celery.

Source:
    Celery reference, ``celery.beat.ScheduleEntry``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import total_ordering
from typing import Any, ClassVar, Self

from umbel.schedules.base import maybe_schedule

__all__ = ["ScheduleEntry"]


@total_ordering
class ScheduleEntry:
    """A task, when it runs, and when it last did.

    Args:
        name: The entry's.
        task: The task's name.
        last_run_at: Default: now.
        total_run_count: How often it has run.
        schedule: Seconds, a ``timedelta`` or a schedule.
        args: The task's arguments.
        kwargs: The task's keyword arguments.
        options: Of ``apply_async``.
        relative: See :class:`umbel.schedules.schedule`.
        app: The app.
    """

    name: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    options: Any = None
    last_run_at: Any = None
    total_run_count: Any = 0

    _EDITABLE: ClassVar = ("task", "schedule", "args", "kwargs", "options")

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> datetime:
        """The time, as the schedule or the app has it."""
        now: datetime = self.schedule.now() if self.schedule else self.app.now()
        return now

    _default_now = default_now

    def next(self, last_run_at: datetime | None = None) -> Self:
        """The entry after one more run."""
        return self._next_instance(last_run_at)

    def __next__(self) -> Self:
        return self._next_instance()

    # Classes of others override it, and each of the above by it: it has to call none of them.
    def _next_instance(self, last_run_at: datetime | None = None) -> Self:
        fields: dict[str, Any] = {
            **dict(self),
            "last_run_at": last_run_at or self.default_now(),
            "total_run_count": self.total_run_count + 1,
        }
        return self.__class__(**fields)

    def update(self, other: ScheduleEntry) -> None:
        """Take over what may be edited: task, schedule, arguments, options."""
        for field in self._EDITABLE:
            setattr(self, field, getattr(other, field))

    def is_due(self) -> Any:
        """Whether it is to be run, and in how many seconds to ask again."""
        return self.schedule.is_due(self.last_run_at)

    def editable_fields_equal(self, other: ScheduleEntry) -> bool:
        """Whether nothing would change by :meth:`update`."""
        return all(getattr(self, field) == getattr(other, field) for field in self._EDITABLE)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __repr__(self) -> str:
        given = [*map(repr, self.args or ()), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return (
            f"<{type(self).__name__}: {self.name} {self.task}({', '.join(given)}) {self.schedule}>"
        )

    def __lt__(self, other: object) -> bool:
        # Which of two that are due at once comes first does not matter.
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self.editable_fields_equal(other) if isinstance(other, ScheduleEntry) else False

    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (
            *(self.name, self.task, self.last_run_at, self.total_run_count),
            *(self.schedule, self.args, self.kwargs, self.options),
        )
