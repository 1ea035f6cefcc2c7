"""``umbel.utils.time`` answers as ``celery.utils.time`` does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.utils import time as theirs

from umbel.utils import time as ours

PARIS = ZoneInfo("Europe/Paris")
NAIVE = datetime(2026, 5, 4, 13, 45, 10, 5)
AWARE = NAIVE.replace(tzinfo=UTC)
TWICE = datetime(2026, 10, 25, 2, 30)
NEVER = datetime(2026, 3, 29, 2, 30)

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    *(("maybe_timedelta", (value,)) for value in (30, 1.5, timedelta(1), None)),
    *(
        ("delta_resolution", (AWARE, timedelta(**{unit: 2})))
        for unit in ("days", "hours", "minutes", "seconds")
    ),
    *(("rate", (value,)) for value in ("100/m", "2/h", "0.5/s", "7", "", None, 3)),
    *(("weekday", (value,)) for value in ("sunday", "Mon", "sat")),
    *(("yearmonth", (value,)) for value in ("january", "Dec")),
    *(("humanize_seconds", (value,)) for value in (0, 0.2, 1, 59, 60, 5400, 7200, 86400, 2e5)),
    ("humanize_seconds", (61, "in", " ")),
    ("humanize_seconds", (0.25, "", "", "now", True)),
    *(("maybe_iso8601", (value,)) for value in ("2026-05-04T13:45:10Z", NAIVE, None)),
    *(("is_naive", (value,)) for value in (NAIVE, AWARE)),
    ("add_seconds_to_datetime", (NEVER.replace(tzinfo=PARIS) - timedelta(hours=1), 3600)),
    ("subtract_datetimes", (AWARE, NAIVE - timedelta(hours=1))),
    *(("make_aware", (value, PARIS)) for value in (NAIVE, TWICE, NEVER)),
    *(("localize", (value, PARIS)) for value in (NAIVE, NAIVE.replace(tzinfo=ZoneInfo("UTC")))),
    ("to_utc", (NAIVE,)),
    *(
        ("maybe_make_aware", arguments)
        for arguments in ((NAIVE,), (AWARE, PARIS), (NAIVE, PARIS), (NAIVE, PARIS, False))
    ),
    ("remaining", (AWARE, timedelta(seconds=30), AWARE + timedelta(seconds=10))),
    ("remaining", (AWARE, timedelta(seconds=30), AWARE + timedelta(seconds=90))),
    ("remaining", (AWARE, timedelta(hours=2), AWARE, True)),
    ("remaining", (AWARE, timedelta(days=2), AWARE, True)),
    ("utcoffset", ()),
    ("adjust_timestamp", (1000.0, 3, lambda: 1)),
    *(("get_exponential_backoff_interval", (3, tries, 100)) for tries in (0, 4, 30)),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_the_answers_are_the_same(name: str, arguments: tuple[Any, ...]) -> None:
    mine, other = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)

    assert mine == other
    if isinstance(mine, datetime) and mine.tzinfo is not None:
        assert mine.utcoffset() == other.utcoffset()


@pytest.mark.parametrize(
    "parts",
    [
        {"day": 31, "month": 2},
        {"weeks": 1, "weekday": 3, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
        {"year": 2027},
    ],
)
def test_moments_are_moved_to_the_same_place(parts: dict[str, int]) -> None:
    assert AWARE + ours.ffwd(**parts) == AWARE + theirs.ffwd(**parts)


def test_backoff_with_jitter_is_spread_over_the_whole_time() -> None:
    seconds = {ours.get_exponential_backoff_interval(4, 1, 100, True) for _ in range(500)}

    assert seconds == set(range(9))


def test_a_word_that_is_no_day_is_told_as_it_was_written() -> None:
    with pytest.raises(KeyError, match="Yesterday"):
        ours.weekday("Yesterday")
