"""Moments as the wire writes them: ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["read", "stamp", "stamp_bytes"]


def read(text: str) -> float:
    """Unix seconds of an ISO 8601 moment; without an offset it is UTC.

    Raises:
        ValueError: It is not one, or not in the years 1 to 9999.

    >>> read("1970-01-02T00:00:00"), read("1970-01-01T00:00:00-01:00")
    (86400.0, 3600.0)
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp()
    except OverflowError as error:
        raise ValueError(f"{text!r} is beyond the calendar") from error


def stamp(seconds: float) -> str:
    """A moment as Celery writes ``date_done``, to the millisecond.

    >>> stamp(0.25)
    '1970-01-01T00:00:00.250000+00:00'
    """
    return _stamp(int(seconds * 1000))


# Thousands of results share a millisecond, and formatting one costs as much as encoding it.
@lru_cache(maxsize=8)
def _stamp(millisecond: int) -> str:
    second, rest = divmod(millisecond, 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}000+00:00"


def stamp_bytes(seconds: float) -> bytes:
    """The same as bytes, for those who write JSON by template."""
    return _stamp_bytes(int(seconds * 1000))


@lru_cache(maxsize=8)
def _stamp_bytes(millisecond: int) -> bytes:
    return _stamp(millisecond).encode("ascii")
