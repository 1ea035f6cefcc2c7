"""What all schedules have in common, and schedules at fixed intervals.

Source:
    Celery user guide, Periodic Tasks; reference, ``celery.schedules``: names and meanings.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from umbel.current import current_app

__all__ = [
    "App",
    "BaseSchedule",
    "maybe_schedule",
    "schedstate",
    "schedule",
]

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


class App(Protocol):
    """The part of an app that schedules need."""

    @property
    def timezone(self) -> tzinfo:
        """The zone that calendars are read in."""
        ...

    @property
    def conf(self) -> Any:
        """``enable_utc`` and ``beat_cron_starting_deadline`` are read."""
        ...

    def now(self) -> datetime:
        """The time, aware."""
        ...


class schedstate(NamedTuple):  # noqa: N801 - Celery's name
    """Whether a task is due, and in how many seconds to ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """When something happens, again and again.

    Ours say it with :meth:`next_after`. A schedule of somebody else's may define
    :meth:`is_due` alone, or :meth:`remaining_estimate` too, as Celery's documentation has it.

    Args:
        nowfun: What the time is; default: the app's clock.
        app: Whose time zone and clock; default: the current app.
    """

    def __init__(
        self, nowfun: Callable[[], datetime] | None = None, app: App | None = None
    ) -> None:
        self.nowfun = nowfun
        self._app = app

    @property
    def app(self) -> App:
        """Whose time zone and clock this schedule goes by."""
        if self._app is not None:
            return self._app
        app: App = current_app()
        return app

    @app.setter
    def app(self, app: App | None) -> None:
        self._app = app
        # Derived from the app that was there before.
        self.__dict__.pop("tz", None)
        self.__dict__.pop("utc_enabled", None)

    @cached_property
    def tz(self) -> tzinfo:
        """The time zone that calendars are read in; may be assigned."""
        return self.app.timezone

    @cached_property
    def utc_enabled(self) -> bool:
        """As the setting ``enable_utc``."""
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        """The time, as ``nowfun`` or the app has it."""
        return (self.nowfun or self.app.now)()

    def to_local(self, dt: datetime) -> datetime:
        """The same moment in the machine's time zone, without ``enable_utc``; else untouched."""
        return dt if self.utc_enabled else dt.astimezone()

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """The moment in this schedule's time zone; one without a zone is UTC, or local."""
        if dt.tzinfo is None:
            if not naive_as_utc:
                return dt.replace(tzinfo=self.tz)
            dt = dt.replace(tzinfo=UTC)
        return dt.astimezone(self.tz)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``, aware; None: never again.

        Raises:
            NotImplementedError: This schedule knows only whether it is due.
        """
        raise NotImplementedError

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long it is until the next time after ``last_run_at``; negative once it has passed."""
        following = self.next_after(self.maybe_make_aware(last_run_at))
        if following is None:
            return timedelta.max
        return _elapsed(self.maybe_make_aware(self.now()), following)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether a time has come since ``last_run_at``, and in how many seconds to ask again."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented

    __hash__ = object.__hash__


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """Every so often.

    Args:
        run_every: Seconds, or a ``timedelta``.
        relative: Round times down to the day, hour or minute, whichever the interval is at least
            one of, in the schedule's time zone: every two hours is on the hour.
        nowfun: See :class:`BaseSchedule`.
        app: See :class:`BaseSchedule`.

    Raises:
        ValueError: The interval is negative, or missing.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        if run_every is None:
            raise ValueError("schedule(run_every=None): say how often, in seconds or a timedelta.")
        self.run_every = (
            run_every if isinstance(run_every, timedelta) else timedelta(seconds=run_every)
        )
        if self.run_every < timedelta(0):
            raise ValueError(f"schedule(run_every={run_every!r}): time does not go back.")
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    @property
    def seconds(self) -> float:
        """The interval."""
        return self.run_every.total_seconds()

    @property
    def human_seconds(self) -> str:
        """The interval, for people: ``2.00 hours``."""
        for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
            if self.seconds >= size:
                count = self.seconds / size
                return f"{count:.2f} {unit}" + ("" if count == 1 else "s")
        return f"{self.seconds:.2f} second" + ("" if self.seconds == 1 else "s")

    def next_after(self, moment: datetime) -> datetime:
        """One interval later, in real time; with ``relative`` at a full day, hour or minute."""
        if self.relative and self.run_every >= _DAY:
            # By the calendar: the day on which clocks change is a day, too.
            midnight = (moment.astimezone(self.tz) + self.run_every).replace(
                hour=0, minute=0, second=0, microsecond=0, fold=0
            )
            return midnight.astimezone(UTC).astimezone(self.tz)
        # In real time: an hour across a change of clocks is an hour.
        following = (moment.astimezone(UTC) + self.run_every).astimezone(self.tz)
        if self.relative:
            rounded = _rounded(following, self.run_every)
            if _elapsed(moment, rounded) > timedelta(0):
                return rounded
        return following

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether the interval is over. One that was missed several times is due once."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        if self.relative:
            return schedstate(True, self.remaining_estimate(self.now()).total_seconds())
        return schedstate(True, self.seconds)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return self.run_every == other.run_every and self.relative == other.relative
        return self.run_every == other

    def __hash__(self) -> int:
        return hash(self.run_every)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.run_every, self.relative, self.nowfun)


def _elapsed(start: datetime, end: datetime) -> timedelta:
    """Real time: between two moments of one zone, Python subtracts what the clocks show."""
    return end.astimezone(UTC) - start.astimezone(UTC)


def _rounded(moment: datetime, interval: timedelta) -> datetime:
    if interval >= _HOUR:
        return moment.replace(minute=0, second=0, microsecond=0)
    if interval >= _MINUTE:
        return moment.replace(second=0, microsecond=0)
    return moment


def maybe_schedule(
    s: float | timedelta | BaseSchedule | None, relative: bool = False, app: App | None = None
) -> BaseSchedule | None:
    """A schedule from seconds or a ``timedelta``; a schedule is given the app."""
    if s is None:
        return None
    if isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    s.app = app
    return s
