"""Schedules by the calendar, as in ``crontab``.

When clocks change, each time of day that the fields name comes once a day: one that is skipped
comes when the gap ends (several of them together), one that is repeated comes the first time.
An entry for every hour of the day goes by real time instead: it has nothing to catch up on when
an hour is missing, and runs in both when one comes twice.

Source:
    Celery user guide, Periodic Tasks, "Crontab schedules": fields, all of which must agree.
    For the changes of clocks, cron(8) of Debian: "jobs that run at least hourly" and others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Self, cast

from umbel.schedules.base import App, BaseSchedule, schedstate
from umbel.schedules.crontab_parser import crontab_parser

__all__ = ["Cronspec", "crontab"]

Cronspec = int | str | Iterable[int]

_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY = timedelta(days=1)
_YEARS = 41
"""A 29th of February on a given weekday comes once in 28 years, in 40 across the year 2100."""
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """At the minutes in which all five fields agree.

    Each is a number, a string in the language of :class:`crontab_parser`, or several numbers.

    Args:
        minute: 0 to 59.
        hour: 0 to 23.
        day_of_week: 0 to 6, Sunday first, or names.
        day_of_month: 1 to 31.
        month_of_year: 1 to 12, or names.
        nowfun: See :class:`BaseSchedule`.
        app: See :class:`BaseSchedule`.

    Raises:
        ParseException: A string is not in that language.
        ValueError: A number is out of range, or no such day exists.
        TypeError: A field is something else.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year
        self.minute = _numbers("minute", minute, 60)
        self.hour = _numbers("hour", hour, 24)
        self.day_of_week = _numbers("day_of_week", day_of_week, 7)
        self.day_of_month = _numbers("day_of_month", day_of_month, 31, 1)
        self.month_of_year = _numbers("month_of_year", month_of_year, 12, 1)
        if min(self.day_of_month) > max(_LONGEST_MONTH[m - 1] for m in self.month_of_year):
            raise ValueError(
                f"Invalid crontab: day_of_month {day_of_month!r} never occurs in "
                f"month_of_year {month_of_year!r}."
            )
        self._times = [time(h, m) for h in sorted(self.hour) for m in sorted(self.minute)]
        self._goes_by_real_time = len(self.hour) == 24
        # Asked about again and again, while it lasts.
        self._changing_day: tuple[date, tzinfo, list[datetime]] | None = None

    @classmethod
    def from_string(cls, crontab: str) -> Self:
        """A schedule from a line of crontab: minute, hour, day of month, month, day of week.

        ``@hourly``, ``@daily`` and their like are understood.

        Raises:
            ValueError: These are not five fields, or one of them is unfit.
        """
        fields = _NICKNAMES.get(crontab.strip(), crontab).split()
        if len(fields) != 5:
            raise ValueError(
                f"crontab {crontab!r}: expected five fields (minute, hour, day of month, month, "
                f"day of week), found {len(fields)}."
            )
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first of these minutes that begins after ``moment``."""
        zone = self.tz
        local = moment.astimezone(zone)
        after = moment.astimezone(UTC)
        # A time that was skipped at the end of the day before comes on this one.
        for day in self._days(local.date() - _DAY):
            found = self._first_of(day, after, zone)
            if found is not None:
                return found.astimezone(zone)
        return None

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether one of these minutes has begun since ``last_run_at``.

        With ``beat_cron_starting_deadline``, one that began longer ago than that counts as over.
        """
        state = super().is_due(last_run_at)
        deadline = self.app.conf.beat_cron_starting_deadline
        if not state.is_due or deadline is None:
            return state
        now = self.maybe_make_aware(self.now()).astimezone(UTC)
        recent = self.next_after(now - timedelta(seconds=deadline, microseconds=1))
        if recent is not None and recent.astimezone(UTC) <= now:
            return state
        return schedstate(False, state.next)

    def remaining_delta(
        self, last_run_at: datetime, tz: tzinfo | None = None, ffwd: object = None
    ) -> tuple[datetime, timedelta, datetime]:
        """``last_run_at`` in the schedule's zone, what its clocks advance until the next time,
        and now."""
        zone = tz or self.tz
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        following = self.next_after(last)
        now = self.maybe_make_aware(self.now()).astimezone(zone)
        if following is None:
            return last, timedelta.max, now
        shown = following.astimezone(zone).replace(tzinfo=None) - last.replace(tzinfo=None)
        return last, shown, now

    def _days(self, first: date) -> Iterator[date]:
        """The days from ``first`` on whose fields agree."""
        day = first
        for _ in range(_YEARS * 12):
            if day.month in self.month_of_year:
                month = day.month
                while day.month == month:
                    if day.day in self.day_of_month and day.isoweekday() % 7 in self.day_of_week:
                        yield day
                    day += _DAY
            else:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)

    def _first_of(self, day: date, after: datetime, zone: tzinfo) -> datetime | None:
        """The first moment of that day, after that one, in UTC."""
        midnight = datetime.combine(day, time(0), zone)
        tomorrow = datetime.combine(day + _DAY, time(0), zone)
        offset = midnight.utcoffset()
        if offset == tomorrow.utcoffset():
            # No clock changes: what it shows is real time, shifted.
            shown = after.replace(tzinfo=None) + (offset or timedelta(0))
            if shown.date() > day:
                return None
            at = 0 if shown.date() < day else bisect_right(self._times, shown.time())
            if at == len(self._times):
                return None
            return datetime.combine(day, self._times[at], zone).astimezone(UTC)
        moments = self._moments_of(day, zone)
        at = bisect_right(moments, after)
        return moments[at] if at < len(moments) else None

    def _moments_of(self, day: date, zone: tzinfo) -> list[datetime]:
        """The moments of a day on which clocks change, in order, in UTC."""
        known = self._changing_day
        if known is not None and known[0] == day and known[1] is zone:
            return known[2]
        moments: set[datetime] = set()
        for shown in self._times:
            early = datetime.combine(day, shown, zone)
            late = early.replace(fold=1)
            if _exists(early):
                moments.add(early.astimezone(UTC))
                if self._goes_by_real_time:
                    moments.add(late.astimezone(UTC))
            elif not self._goes_by_real_time:
                moments.add(_end_of_gap(early, late))
        found = sorted(moments)
        self._changing_day = day, zone, found
        return found

    def __repr__(self) -> str:
        return (
            f"<crontab: {self._orig_minute} {self._orig_hour} {self._orig_day_of_month} "
            f"{self._orig_month_of_year} {self._orig_day_of_week} (m/h/dM/MY/d)>"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            return (
                other.month_of_year == self.month_of_year
                and other.day_of_month == self.day_of_month
                and other.day_of_week == self.day_of_week
                and other.hour == self.hour
                and other.minute == self.minute
                and super().__eq__(other)
            )
        return NotImplemented

    def __hash__(self) -> int:
        return hash((frozenset(self.hour), frozenset(self.minute), frozenset(self.day_of_week)))

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return self.__class__, fields, {"nowfun": self.nowfun}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # Celery's pickles have the keyword arguments here, if there were any.
        self.nowfun = state.get("nowfun")
        self._app = state.get("app")


def _numbers(name: str, spec: object, count: int, least: int = 0) -> set[int]:
    """The numbers that a field stands for."""
    if isinstance(spec, str):
        return crontab_parser(count, least).parse(spec)
    numbers: object = {spec} if isinstance(spec, int) else spec
    if not isinstance(numbers, Iterable):
        raise TypeError(
            "Argument cronspec needs to be of any of the following types: int, str, or an "
            f"iterable type. {type(spec)!r} was given for {name}."
        )
    found: set[int] = set()
    for number in cast("Iterable[object]", numbers):
        if not isinstance(number, int):
            raise TypeError(f"crontab({name}={spec!r}): {number!r} is not a number.")
        if not least <= number < least + count:
            raise ValueError(
                f"Invalid crontab pattern.  Valid range is {least}-{least + count - 1}. "
                f"'{number}' was found."
            )
        found.add(number)
    if not found:
        raise ValueError(f"crontab({name}={spec!r}): it names no time at all.")
    return found


def _exists(moment: datetime) -> bool:
    """Whether clocks ever show it."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) == moment.replace(
        tzinfo=None
    )


def _end_of_gap(early: datetime, late: datetime) -> datetime:
    """When the gap that a time fell into is over, in UTC.

    In a gap, a time read with the offset before it lies after the change, and one read with
    the offset after it lies before (PEP 495); the change is between them.
    """
    before, after = late.astimezone(UTC), early.astimezone(UTC)
    zone, old = early.tzinfo, early.utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
