"""Dates, intervals and time zones.

Source:
    Celery reference, ``celery.utils.time``: names and forms.
"""

from __future__ import annotations

import random
import time as clock
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, overload
from zoneinfo import ZoneInfo

from umbel.utils.text import pluralize

__all__ = [
    "add_seconds_to_datetime",
    "adjust_timestamp",
    "delta_resolution",
    "ffwd",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "subtract_datetimes",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
    "yearmonth",
]

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SECONDS_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


class _Zones:
    """``timezone``: the zones that an app may need."""

    @property
    def utc(self) -> tzinfo:
        """UTC."""
        return UTC

    @property
    def local(self) -> tzinfo:
        """The system's zone, as it is now."""
        zone = datetime.now(UTC).astimezone().tzinfo
        assert zone is not None, "astimezone() gives one"
        return zone

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """The zone of that name.

        Raises:
            ZoneInfoNotFoundError: There is none.
        """
        return ZoneInfo(zone) if isinstance(zone, str) else zone

    def tz_or_local(self, tzinfo: str | tzinfo | None = None) -> tzinfo:
        """That zone, else the system's."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(
        self, dt: datetime, local: str | tzinfo | None = None, orig: tzinfo | None = None
    ) -> datetime:
        """The moment in the zone ``local``; a naive one is of the zone ``orig``, else UTC."""
        return _aware(dt, orig or UTC).astimezone(self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """The moment in the system's zone."""
        return dt.astimezone()

    def to_local_fallback(self, dt: datetime) -> datetime:
        """The moment in the system's zone; a naive one is of that zone."""
        return dt.astimezone()


timezone = _Zones()


class ffwd:  # noqa: N801 - documented name
    """``moment + ffwd(…)``: parts of the moment set anew, then the next such day of the week, then
    ``weeks`` added.

    >>> datetime(2026, 5, 31, 12, 30) + ffwd(month=2, day=31, hour=0, minute=0)
    datetime.datetime(2026, 2, 28, 0, 0)
    """

    def __init__(self, *, weeks: int = 0, weekday: int | None = None, **parts: int | None) -> None:
        self.weeks = weeks
        self.weekday = weekday
        self._parts = {name: value for name, value in parts.items() if value is not None}

    def __repr__(self) -> str:
        parts: dict[str, object] = {**self._parts, "weeks": self.weeks, "weekday": self.weekday}
        return f"ffwd({', '.join(f'{name}={value!r}' for name, value in parts.items())})"

    def __radd__(self, moment: datetime) -> datetime:
        year = self._parts.get("year", moment.year)
        month = self._parts.get("month", moment.month)
        day = min(monthrange(year, month)[1], self._parts.get("day", moment.day))
        parts: dict[str, Any] = {**self._parts, "year": year, "month": month, "day": day}
        moved = moment.replace(**parts)
        if self.weekday is not None:
            moved += timedelta(days=(self.weekday - moved.weekday()) % 7)
        return moved + timedelta(weeks=self.weeks)


@overload
def maybe_timedelta(delta: float) -> timedelta: ...
@overload
def maybe_timedelta(delta: timedelta | None) -> timedelta | None: ...
def maybe_timedelta(delta: float | timedelta | None) -> timedelta | None:
    """A number is seconds; anything else is what it is.

    >>> maybe_timedelta(90)
    datetime.timedelta(seconds=90)
    """
    return timedelta(seconds=delta) if isinstance(delta, int | float) else delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """The moment, cut to the largest unit that ``delta`` has: days, hours or minutes.

    >>> delta_resolution(datetime(2026, 5, 4, 13, 45, 10), timedelta(hours=3))
    datetime.datetime(2026, 5, 4, 13, 0)
    """
    if delta >= timedelta(days=1):
        return dt.replace(hour=0, minute=0, second=0, microsecond=0)
    if delta >= timedelta(hours=1):
        return dt.replace(minute=0, second=0, microsecond=0)
    if delta >= timedelta(minutes=1):
        return dt.replace(second=0, microsecond=0)
    return dt


def remaining(
    start: datetime,
    ends_in: timedelta | ffwd,
    now: datetime | None = None,
    relative: bool = False,
) -> timedelta:
    """How long it is until ``ends_in`` after ``start``; negative when that is past.

    Args:
        now: None: now.
        relative: Cut the end to the largest unit of ``ends_in``, as :func:`delta_resolution` does.
    """
    whole_days = relative and isinstance(ends_in, timedelta) and ends_in >= timedelta(days=1)
    if isinstance(ends_in, timedelta) and not whole_days:
        end = add_seconds_to_datetime(start, ends_in.total_seconds())
    else:
        # The wall's clock: a day is a day, also when the clocks change.
        end = start + ends_in
    if relative and isinstance(ends_in, timedelta):
        end = delta_resolution(end, ends_in)
    return subtract_datetimes(end, now or datetime.now(UTC))


def rate(r: str | float | None) -> float:
    """A rate per second.

    Raises:
        KeyError: The unit is neither s, m nor h.

    >>> rate("90/m")
    1.5
    """
    if not isinstance(r, str):
        return r or 0.0
    if not r:
        return 0.0
    count, _, unit = r.partition("/")
    return float(count) / _SECONDS_PER[unit or "s"]


def weekday(name: str) -> int:
    """The number of a day of the week; Sunday is 0.

    Raises:
        KeyError: There is no such day.

    >>> weekday("Monday")
    1
    """
    return _position(name, _WEEKDAYS)


def yearmonth(name: str) -> int:
    """The number of a month; January is 1.

    Raises:
        KeyError: There is no such month.

    >>> yearmonth("feb")
    2
    """
    return _position(name, _MONTHS) + 1


def _position(name: str, names: tuple[str, ...]) -> int:
    try:
        return names.index(name[:3].lower())
    except ValueError:
        raise KeyError(name) from None


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """A duration in its largest unit.

    Args:
        prefix: Put in front, with ``sep``, unless the answer is ``now``.
        now: What less than a second is.
        microseconds: Say fractions of a second too.

    >>> humanize_seconds(5400, prefix="in ")
    'in 1.50 hours'
    """
    secs = round(float(secs), 2)
    for unit, size in _UNITS:
        if secs >= size:
            count = secs / size
            return f"{prefix}{sep}{count:.2f} {pluralize(count, unit)}"
    return f"{prefix}{sep}{secs:.2f} seconds" if microseconds and secs > 0 else now


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """The moment that a text in ISO 8601 says.

    Raises:
        ValueError: It is not ISO 8601.

    >>> maybe_iso8601("2026-05-04T13:45:10Z")
    datetime.datetime(2026, 5, 4, 13, 45, 10, tzinfo=datetime.timezone.utc)
    """
    if not dt:
        return None
    return dt if isinstance(dt, datetime) else datetime.fromisoformat(dt)


def is_naive(dt: datetime) -> bool:
    """Whether the moment is of no zone."""
    return dt.utcoffset() is None


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """The moment that many real seconds later, also when clocks change in between."""
    delta = timedelta(seconds=seconds)
    return dt + delta if is_naive(dt) else (dt.astimezone(UTC) + delta).astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """The real time between two moments; naive ones are UTC."""
    return _aware(end, UTC).astimezone(UTC) - _aware(start, UTC).astimezone(UTC)


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """That time of the clock in ``tz``.

    The earlier one, where the clock shows it twice; where it skips it, as much later as it skips.
    """
    moment = dt.replace(tzinfo=tz, fold=0)
    there = moment.astimezone(UTC).astimezone(tz)
    return moment if there.replace(tzinfo=None) == moment.replace(tzinfo=None) else there


def _aware(dt: datetime, tz: tzinfo) -> datetime:
    return make_aware(dt, tz) if is_naive(dt) else dt


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """The moment in ``tz``; a naive one is of that zone."""
    return _aware(dt, tz).astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """The moment, of UTC if it was of no zone."""
    return _aware(dt, UTC)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """The moment, in ``tz`` (None: UTC) if it was of no zone; then it is UTC, or else of ``tz``."""
    if not is_naive(dt):
        return dt
    return localize(_aware(dt, UTC) if naive_as_utc else dt, tz or UTC)


def utcoffset(time: Any = clock, localtime: Any = clock.localtime) -> float:
    """Hours by which the system's clock is behind UTC."""
    behind: float = time.altzone if localtime().tm_isdst else time.timezone
    return behind / 3600


def adjust_timestamp(ts: float, offset: float, here: Callable[[], float] = utcoffset) -> float:
    """A time of another machine, whose clock is ``offset`` hours behind UTC, as of ours."""
    return ts - (offset - here()) * 3600


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Seconds to wait before the next attempt: ``factor`` doubled ``retries`` times.

    Args:
        full_jitter: Any number of seconds up to that.

    >>> get_exponential_backoff_interval(3, 4, 600)
    48
    """
    countdown: int = min(maximum, factor * 2**retries)
    if full_jitter:
        # Spread, not secrecy.
        countdown = random.randrange(countdown + 1)  # noqa: S311
    return max(0, countdown)
