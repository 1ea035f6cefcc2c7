"""crontab: fields, times, and what becomes of it when clocks change."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import celery.schedules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.schedules import ParseException, crontab, crontab_parser

MINUTE = timedelta(minutes=1)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # at midnight: 0:00 to 1:00 is skipped, 0:00 to 1:00 is repeated
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",
    "Africa/Casablanca",  # back and forth around Ramadan
    "Pacific/Apia",
    "Asia/Beirut",
]


def at(zone: str, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def in_zone(zone: str, entry: crontab) -> crontab:
    entry.tz = ZoneInfo(zone)
    return entry


def shown(moment: datetime | None) -> str:
    assert moment is not None
    return f"{moment:%Y-%m-%d %H:%M %z}"


def following(entry: crontab, start: datetime, count: int) -> list[str]:
    found = []
    moment: datetime | None = start
    for _ in range(count):
        assert moment is not None
        moment = entry.next_after(moment)
        found.append(shown(moment))
    return found


@pytest.mark.parametrize(
    ("spec", "count", "least", "numbers"),
    [
        ("*", 7, 0, [0, 1, 2, 3, 4, 5, 6]),
        ("*/15", 60, 0, [0, 15, 30, 45]),
        ("*/4", 24, 0, [0, 4, 8, 12, 16, 20]),
        ("*/3", 31, 1, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31]),
        ("2-12/2", 12, 1, [2, 4, 6, 8, 10, 12]),
        ("1,13,30-32", 60, 0, [1, 13, 30, 31, 32]),
        ("mon-fri", 7, 0, [1, 2, 3, 4, 5]),
        ("fri-mon", 7, 0, [0, 1, 5, 6]),
        ("22-2", 24, 0, [0, 1, 2, 22, 23]),
        ("22-3/2", 24, 0, [0, 2, 22]),
        ("Sunday", 7, 0, [0]),
        ("jan,July", 12, 1, [1, 7]),
        ("5, 10", 60, 0, [5, 10]),
        ("7-7", 60, 0, [7]),
    ],
)
def test_the_language_of_fields_is_celerys(
    spec: str, count: int, least: int, numbers: list[int]
) -> None:
    assert sorted(crontab_parser(count, least).parse(spec)) == numbers
    assert sorted(celery.schedules.crontab_parser(count, least).parse(spec)) == numbers


@pytest.mark.parametrize("spec", ["", "1,,2", "*/", "1-", "-5", "1-5/", "*/0", "*/x", "a b", "**"])
def test_what_is_not_in_the_language_is_refused(spec: str) -> None:
    with pytest.raises(ParseException, match="crontab field"):
        crontab_parser(60).parse(spec)


@pytest.mark.parametrize(
    "options",
    [
        {"minute": 60},
        {"hour": "24"},
        {"day_of_month": 0},
        {"month_of_year": 13},
        {"day_of_week": "7"},
        {"day_of_week": "someday"},
        {"minute": [1, 99]},
        {"minute": []},
        {"day_of_month": 31, "month_of_year": [2, 4]},
    ],
)
def test_times_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        crontab(**options)


@pytest.mark.parametrize("options", [{"minute": None}, {"hour": 1.5}, {"minute": ["1"]}])
def test_fields_of_another_kind_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        crontab(**options)


def test_a_line_of_crontab_is_a_crontab() -> None:
    assert crontab.from_string("30 7 * * mon-fri") == crontab(30, 7, day_of_week="1-5")
    assert crontab.from_string(" 0   4 1 */2 * ") == crontab(0, 4, "*", 1, "*/2")
    assert crontab.from_string("@hourly") == crontab(0)
    assert repr(crontab.from_string("30 7 * * 1")) == "<crontab: 30 7 * * 1 (m/h/dM/MY/d)>"
    with pytest.raises(ValueError, match="expected five fields"):
        crontab.from_string("* * *")


@pytest.mark.parametrize(
    ("entry", "after", "times"),
    [
        (crontab(), "2026-11-21 10:07:30", ["2026-11-21 10:08", "2026-11-21 10:09"]),
        (crontab(minute="*/15"), "2026-11-21 10:45", ["2026-11-21 11:00", "2026-11-21 11:15"]),
        (crontab(0, 0), "2026-12-31 00:00", ["2027-01-01 00:00", "2027-01-02 00:00"]),
        (crontab(30, 7, 1), "2026-11-21 10:00", ["2026-11-23 07:30", "2026-11-30 07:30"]),
        (crontab(0, 0, day_of_month=31), "2026-01-31", ["2026-03-31 00:00", "2026-05-31 00:00"]),
        (crontab(0, 0, "*", 29, 2), "2026-01-01", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        (crontab(0, 0, "fri", 13), "2026-01-01", ["2026-02-13 00:00", "2026-03-13 00:00"]),
        (crontab(0, 9, "sun", 29, 2), "2088-03-01", ["2128-02-29 09:00"]),
    ],
)
def test_all_fields_have_to_agree(entry: crontab, after: str, times: list[str]) -> None:
    start = at("UTC", after)

    found = following(in_zone("UTC", entry), start, len(times))

    assert found == [f"{time} +0000" for time in times]


# -- when clocks change


def test_a_time_that_is_skipped_comes_when_the_gap_ends() -> None:
    entry = in_zone("Europe/Berlin", crontab(30, 2))

    assert following(entry, at("Europe/Berlin", "2026-03-28 00:00"), 3) == [
        "2026-03-28 02:30 +0100",
        "2026-03-29 03:00 +0200",
        "2026-03-30 02:30 +0200",
    ]


def test_several_times_that_are_skipped_come_together() -> None:
    entry = in_zone("Europe/Berlin", crontab("*/20", 2))

    assert following(entry, at("Europe/Berlin", "2026-03-28 02:40"), 2) == [
        "2026-03-29 03:00 +0200",
        "2026-03-30 02:00 +0200",
    ]


def test_a_time_that_is_repeated_comes_the_first_time() -> None:
    entry = in_zone("Europe/Berlin", crontab(30, 2))

    assert following(entry, at("Europe/Berlin", "2026-10-24 12:00"), 2) == [
        "2026-10-25 02:30 +0200",
        "2026-10-26 02:30 +0100",
    ]


def test_what_runs_every_hour_goes_by_real_time() -> None:
    entry = in_zone("Europe/Berlin", crontab(30))

    assert following(entry, at("Europe/Berlin", "2026-03-29 01:00"), 2) == [
        "2026-03-29 01:30 +0100",
        "2026-03-29 03:30 +0200",
    ]
    assert following(entry, at("Europe/Berlin", "2026-10-25 02:00"), 3) == [
        "2026-10-25 02:30 +0200",
        "2026-10-25 02:30 +0100",
        "2026-10-25 03:30 +0100",
    ]


def test_a_midnight_that_is_skipped_comes_at_one() -> None:
    entry = in_zone("America/Havana", crontab(0, 0))

    assert following(entry, at("America/Havana", "2026-03-07 12:00"), 2) == [
        "2026-03-08 01:00 -0400",
        "2026-03-09 00:00 -0400",
    ]


def test_a_day_that_a_country_skipped_is_made_up_for_on_the_next() -> None:
    # Samoa went from 29 December 2011 to the 31st.
    entry = in_zone("Pacific/Apia", crontab(0, 12))

    assert following(entry, at("Pacific/Apia", "2011-12-29 06:00"), 3) == [
        "2011-12-29 12:00 -1000",
        "2011-12-31 00:00 +1400",
        "2011-12-31 12:00 +1400",
    ]


FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_week": (0, 6),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
}


@st.composite
def fields(draw: st.DrawFn, least: int, most: int) -> str:
    number = st.integers(least, most)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.integers(1, most).map(lambda step: f"*/{step}"),
        st.tuples(number, number, st.integers(1, 9)).map(lambda t: f"{t[0]}-{t[1]}/{t[2]}"),
    )
    return ",".join(draw(st.lists(part, min_size=1, max_size=2)))


@st.composite
def crontabs(draw: st.DrawFn) -> crontab:
    try:
        return crontab(**{name: draw(fields(*bounds)) for name, bounds in FIELDS.items()})
    except ValueError:
        return crontab(draw(fields(0, 59)), draw(fields(0, 23)))


def oracle(entry: crontab, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every minute of real time, one by one; the rules as the documentation puts them."""

    def named(wall: datetime) -> bool:
        return (
            wall.minute in entry.minute
            and wall.hour in entry.hour
            and wall.isoweekday() % 7 in entry.day_of_week
            and wall.day in entry.day_of_month
            and wall.month in entry.month_of_year
        )

    every_hour = len(entry.hour) == 24
    minute = start
    before = (minute - MINUTE).astimezone(zone).replace(tzinfo=None)
    while minute < end:
        local = minute.astimezone(zone)
        wall = local.replace(tzinfo=None)
        due = named(wall) and (every_hour or not local.fold)
        skipped = before + MINUTE
        while not every_hour and skipped < wall:
            due = due or named(skipped)
            skipped += MINUTE
        if due:
            yield minute
        before = wall
        minute += MINUTE


TRANSITIONS = [
    datetime(2026, 3, 7, 12, tzinfo=UTC),
    datetime(2026, 3, 28, 12, tzinfo=UTC),
    datetime(2026, 4, 4, 3, tzinfo=UTC),
    datetime(2026, 10, 3, 3, tzinfo=UTC),
    datetime(2026, 10, 24, 12, tzinfo=UTC),
    datetime(2026, 10, 31, 12, tzinfo=UTC),
    datetime(2027, 2, 6, 12, tzinfo=UTC),
    datetime(2028, 2, 28, 12, tzinfo=UTC),
]


@settings(deadline=None, max_examples=80)
@given(
    entry=crontabs(),
    zone=st.sampled_from(ZONES),
    start=st.one_of(
        st.sampled_from(TRANSITIONS),
        st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)).map(
            lambda moment: moment.replace(second=0, microsecond=0, tzinfo=UTC)
        ),
    ),
)
def test_it_agrees_with_going_through_every_minute(
    entry: crontab, zone: str, start: datetime
) -> None:
    in_zone(zone, entry)
    end = start + timedelta(days=2)
    expected = list(oracle(entry, ZoneInfo(zone), start, end))

    found = []
    moment = entry.next_after(start - timedelta(seconds=1))
    while moment is not None and moment.astimezone(UTC) < end:
        found.append(moment.astimezone(UTC))
        moment = entry.next_after(moment)

    assert found == expected


# -- beside Celery's


def celerys(entry: crontab, now: datetime, zone: str) -> Any:
    app = SimpleNamespace(
        timezone=ZoneInfo(zone),
        conf=SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=None),
    )
    theirs = celery.schedules.crontab(*entry.__reduce__()[1], nowfun=lambda: now)
    theirs.app = app
    return theirs


@settings(deadline=None, max_examples=150)
@given(
    entry=crontabs(),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "Asia/Tokyo"]),
    last=st.datetimes(datetime(2020, 1, 1), datetime(2036, 1, 1)),
    late=st.timedeltas(timedelta(0), timedelta(days=40)),
)
def test_where_clocks_never_change_it_agrees_with_celery(
    entry: crontab, zone: str, last: datetime, late: timedelta
) -> None:
    last = last.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    now = last + late
    ours = in_zone(zone, crontab(*entry.__reduce__()[1], nowfun=lambda: now))
    ours.app = SimpleNamespace(
        timezone=ZoneInfo(zone),
        now=lambda: now,
        conf=SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=None),
    )

    theirs = celerys(entry, now, zone)

    assert ours.is_due(last).is_due == theirs.is_due(last).is_due
    assert abs(ours.remaining_estimate(last) - theirs.remaining_estimate(last)) < MINUTE / 60


def test_it_survives_a_pickle_and_reads_celerys() -> None:
    entry = crontab("*/5", [1, 2], "mon-fri", "1-7", 12)

    assert pickle.loads(pickle.dumps(entry)) == entry
    _, arguments, state = celery.schedules.crontab("*/5", [1, 2], "mon-fri", "1-7", 12).__reduce__()
    again = crontab(*arguments)
    again.__setstate__(state)
    assert again == entry


# -- is it due


class Surroundings:
    """An app whose clock is set by hand."""

    def __init__(self, now: datetime, deadline: int | None = None) -> None:
        self.timezone = ZoneInfo("UTC")
        self.conf = SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=deadline)
        self._now = now

    def now(self) -> datetime:
        return self._now


def test_it_is_due_once_a_minute_has_come_and_says_when_to_ask_again() -> None:
    entry = crontab("*/10", app=Surroundings(at("UTC", "2026-11-21 10:10:02")))

    assert entry.is_due(at("UTC", "2026-11-21 10:00")) == (True, 598)
    assert entry.is_due(at("UTC", "2026-11-21 10:10")) == (False, 598)
    assert entry.is_due(datetime(2026, 11, 21, 10, 0)).is_due


@pytest.mark.parametrize(("deadline", "due"), [(None, True), (3600, True), (60, False)])
def test_what_was_missed_is_due_within_the_starting_deadline_only(
    deadline: int | None, due: bool
) -> None:
    app = Surroundings(at("UTC", "2026-11-21 10:30"), deadline)
    entry = crontab(0, 10, app=app)

    state = entry.is_due(at("UTC", "2026-11-20 10:00"))

    assert state == (due, 23.5 * 3600)
