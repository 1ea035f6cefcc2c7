"""The time zone of the system.

Source:
    Celery reference, ``celery.utils.time``: names and behaviour.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone, tzinfo

__all__ = ["ZERO", "LocalTimezone"]

ZERO = timedelta(0)


class LocalTimezone(tzinfo):
    """The system's zone, with the daylight saving time of each moment.

    >>> datetime(2026, 5, 4, 12, tzinfo=LocalTimezone()).utcoffset() is not None
    True
    """

    def __init__(self) -> None:
        self.STDOFFSET = timedelta(seconds=-time.timezone)
        self.DSTOFFSET = timedelta(seconds=-time.altzone) if time.daylight else self.STDOFFSET
        self.DSTDIFF = self.DSTOFFSET - self.STDOFFSET

    def __repr__(self) -> str:
        return f"<LocalTimezone: UTC{int(self.DSTOFFSET.total_seconds() / 3600):+03d}>"

    def __reduce__(self) -> tuple[type[LocalTimezone], tuple[()]]:
        return type(self), ()

    def utcoffset(self, dt: datetime | None) -> timedelta:
        """How far the clock is ahead of UTC."""
        return self.DSTOFFSET if self._isdst(dt) else self.STDOFFSET

    def dst(self, dt: datetime | None) -> timedelta:
        """How far it is ahead of standard time."""
        return self.DSTDIFF if self._isdst(dt) else ZERO

    def tzname(self, dt: datetime | None) -> str:
        """What the zone is called then."""
        return time.tzname[self._isdst(dt)]

    def fromutc(self, dt: datetime) -> datetime:
        """The moment, given in UTC, in this zone: with a fixed offset."""
        offset = timedelta(minutes=self.utcoffset(dt).total_seconds() // 60)
        zone = timezone(offset)
        return zone.fromutc(dt.replace(tzinfo=zone))

    def _isdst(self, dt: datetime | None) -> bool:
        if dt is None:
            return False
        fields = (dt.year, dt.month, dt.day, dt.hour, dt.minute, dt.second, dt.weekday(), 0, 0)
        return time.localtime(time.mktime(fields)).tm_isdst > 0
