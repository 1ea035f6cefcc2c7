"""Intervals, single moments and the sun."""

from __future__ import annotations

import pickle
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import celery.schedules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.schedules import crontab, maybe_schedule, once, schedule, solar

BERLIN = ZoneInfo("Europe/Berlin")


class Surroundings:
    """An app whose clock is set by hand."""

    def __init__(self, now: str = "2026-11-21T12:00+00:00", zone: str = "UTC") -> None:
        self.timezone = ZoneInfo(zone)
        self.conf = SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=None)
        self._now = datetime.fromisoformat(now)

    def now(self) -> datetime:
        return self._now


def ago(seconds: float) -> datetime:
    return Surroundings().now() - timedelta(seconds=seconds)


# -- intervals


def test_an_interval_is_due_when_it_is_over_and_once_however_often_it_was_missed() -> None:
    entry = schedule(30, app=Surroundings())

    assert entry.is_due(ago(10)) == (False, 20)
    assert entry.is_due(ago(30)) == (True, 30)
    assert entry.is_due(ago(300)) == (True, 30)


def test_an_hour_is_an_hour_when_clocks_change() -> None:
    entry = schedule(timedelta(hours=1), app=Surroundings(zone="Europe/Berlin"))
    before = datetime(2026, 3, 29, 1, 30, tzinfo=BERLIN)

    assert entry.next_after(before).isoformat() == "2026-03-29T03:30:00+02:00"


@pytest.mark.parametrize(
    ("every", "after", "following"),
    [
        (timedelta(hours=2), "2026-11-21T10:20", "2026-11-21T12:00"),
        (timedelta(minutes=5), "2026-11-21T10:20:40", "2026-11-21T10:25"),
        (timedelta(seconds=20), "2026-11-21T10:20:40", "2026-11-21T10:21"),
        (timedelta(days=1), "2026-11-21T10:20", "2026-11-22T00:00"),
        # 25 and 23 hours long.
        (timedelta(days=1), "2026-10-25T00:00", "2026-10-26T00:00"),
        (timedelta(days=1), "2026-03-29T00:00", "2026-03-30T00:00"),
    ],
)
def test_relative_intervals_end_at_full_days_hours_and_minutes(
    every: timedelta, after: str, following: str
) -> None:
    entry = schedule(every, relative=True, app=Surroundings(zone="Europe/Berlin"))

    found = entry.next_after(datetime.fromisoformat(after).replace(tzinfo=BERLIN))

    assert found.replace(tzinfo=None) == datetime.fromisoformat(following)


@settings(deadline=None, max_examples=150)
@given(
    seconds=st.integers(1, 3 * 86400),
    relative=st.booleans(),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu"]),
    late=st.integers(0, 5 * 86400),
)
def test_where_clocks_never_change_it_agrees_with_celery(
    seconds: int, relative: bool, zone: str, late: int
) -> None:
    last = datetime(2026, 11, 21, 10, 20, 40, tzinfo=ZoneInfo(zone))
    app = Surroundings((last + timedelta(seconds=late)).isoformat(), zone)
    ours = schedule(seconds, relative, app=app)
    theirs = celery.schedules.schedule(seconds, relative, app=app)

    assert ours.remaining_estimate(last) == theirs.remaining_estimate(last)
    assert ours.is_due(last).is_due == theirs.is_due(last).is_due
    assert repr(ours) == repr(theirs)


def test_numbers_and_timedeltas_become_schedules() -> None:
    app = Surroundings()

    assert maybe_schedule(30) == schedule(30)
    assert maybe_schedule(timedelta(minutes=1), relative=True) == schedule(60, relative=True)
    assert maybe_schedule(None) is None
    given = crontab()
    assert maybe_schedule(given, app=app) is given
    assert given.app is app


@pytest.mark.parametrize("every", [None, -1, timedelta(seconds=-5)])
def test_intervals_that_cannot_be_are_refused(every: float | None) -> None:
    with pytest.raises(ValueError, match="run_every"):
        schedule(every)


def test_without_an_app_the_current_one_is_asked() -> None:
    app = Umbel("zone", broker="memory://", set_as_current=False, timezone="Asia/Tokyo")
    app.set_current()
    try:
        assert str(schedule(1).tz) == "Asia/Tokyo"
    finally:
        app.close()


# -- one moment


def test_a_moment_comes_once() -> None:
    entry = once(datetime(2026, 11, 21, 11, 59), app=Surroundings())

    assert entry.is_due(ago(120)).is_due
    assert not entry.is_due(ago(30)).is_due
    assert entry.next_after(ago(30)) is None
    assert once(datetime(2026, 11, 21, 12, 30), app=Surroundings()).is_due(ago(30)) == (False, 1800)


def test_a_moment_without_a_zone_is_in_the_apps() -> None:
    entry = once(datetime(2026, 11, 21, 11, 59), app=Surroundings(zone="Asia/Tokyo"))

    following = entry.next_after(datetime(2026, 1, 1, tzinfo=UTC))

    assert following == datetime(2026, 11, 21, 2, 59, tzinfo=UTC)


# -- the sun


@pytest.mark.parametrize("event", sorted(celery.schedules.solar._all_events))
def test_the_sun_rises_and_sets_when_celery_says(event: str) -> None:
    app = Surroundings()
    last = app.now() - timedelta(days=1)
    ours = solar(event, 48.1, 11.6, app=app)
    theirs = celery.schedules.solar(event, 48.1, 11.6, app=app)

    difference = ours.remaining_estimate(last) - theirs.remaining_estimate(last)

    assert abs(difference) < timedelta(seconds=1)


def test_one_event_follows_the_other_by_about_a_day() -> None:
    sunrise = solar("sunrise", 48.1, 11.6, app=Surroundings())
    first = sunrise.next_after(datetime(2026, 11, 21, tzinfo=UTC))
    assert first is not None

    second = sunrise.next_after(first)

    assert second is not None
    assert timedelta(hours=23) < second - first < timedelta(hours=25)


def test_in_the_polar_night_the_sun_rises_when_it_does() -> None:
    sunrise = solar("sunrise", 78.2, 15.6, app=Surroundings())

    first = sunrise.next_after(datetime(2026, 11, 21, tzinfo=UTC))

    assert first is not None
    assert f"{first:%Y-%m}" == "2027-02"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("moonrise", 0, 0), 'Argument event "moonrise" is invalid, must be one of dawn_astr'),
        (("sunset", 91, 0), "Argument latitude 91 is invalid, must be between -90 and 90"),
        (("sunset", 0, -181), "Argument longitude -181 is invalid, must be between -180 and 180"),
    ],
)
def test_no_other_events_and_places(arguments: tuple[str, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solar(*arguments)


def test_without_ephem_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)

    with pytest.raises(ImproperlyConfigured, match=r"umbel\[solar\]"):
        solar("sunset", 0, 0)


@pytest.mark.parametrize(
    "entry",
    [schedule(30, relative=True), once(datetime(2026, 1, 1, tzinfo=UTC)), solar("sunset", 1, 2)],
)
def test_schedules_survive_a_pickle(entry: object) -> None:
    again = pickle.loads(pickle.dumps(entry))

    assert again == entry
    assert hash(again) == hash(entry)
    assert repr(again) == repr(entry)
