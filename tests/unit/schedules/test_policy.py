"""What becomes of an entry: which of its times are run, which are skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from umbel.schedules import BaseSchedule, crontab, once, schedstate, schedule, solar
from umbel.schedules.plan import Plan, decode, encode, encode_loosely, plan_of
from umbel.schedules.policy import steps

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
T = NOON.timestamp()
APP: Any = SimpleNamespace(
    timezone=UTC,
    now=lambda: NOON,
    conf=SimpleNamespace(enable_utc=True, beat_cron_starting_deadline=None),
)


def plan(when: Any = 60, **rules: Any) -> Plan:
    return plan_of("tick", {"task": "t", "schedule": when, **rules}, APP)


def taken(plan: Plan, since: float, now: float, **options: Any) -> list[tuple[float, bool, int]]:
    found = steps(plan, since, now, **options).steps
    return [(step.until - T, step.runs, step.skipped) for step in found]


def test_nothing_is_done_before_its_time() -> None:
    found = steps(plan(), T, T + 59)

    assert found.steps == ()
    assert found.again == T + 60


def test_what_comes_is_run_at_the_time_it_was_planned_for() -> None:
    found = steps(plan(), T, T + 60.2)

    assert [(step.until, step.runs) for step in found.steps] == [(T + 60, True)]
    assert found.again == T + 120


def test_of_missed_times_the_last_is_run_and_the_others_are_counted() -> None:
    assert taken(plan(), T, T + 610) == [(540, False, 9), (600, True, 0)]


def test_missed_times_are_skipped_when_they_are_to_be() -> None:
    assert taken(plan(missed="skip"), T, T + 630) == [(600, False, 10)]


def test_missed_times_are_all_run_when_they_are_to_be_up_to_a_limit() -> None:
    caught_up = plan(missed="all", missed_limit=3)

    assert taken(plan(missed="all"), T, T + 190) == [
        *((60, True, 0), (120, True, 0), (180, True, 0)),
    ]
    assert taken(caught_up, T, T + 310) == [
        *((120, False, 2), (180, True, 0), (240, True, 0), (300, True, 0)),
    ]


@pytest.mark.parametrize("missed", ["last", "skip", "all"])
def test_what_is_a_moment_late_was_not_missed(missed: str) -> None:
    assert taken(plan(1, missed=missed), T, T + 3.5) == [(1, True, 0), (2, True, 0), (3, True, 0)]


def test_a_missed_crontab_is_run_within_the_starting_deadline_only() -> None:
    hourly = plan(crontab(0, app=APP))

    assert taken(hourly, T, T + 3600 + 300, deadline=600) == [(3600, True, 0)]
    assert taken(hourly, T, T + 3600 + 900, deadline=600) == [(3600, False, 1)]


def test_times_before_the_start_and_after_the_end_do_not_count() -> None:
    bounded = plan(start=NOON + timedelta(minutes=5), end=NOON + timedelta(minutes=7))

    assert taken(bounded, T, T + 240) == []
    assert taken(bounded, T, T + 362) == [(360, True, 0)]
    assert taken(bounded, T + 420, T + 800) == []


def test_jitter_makes_runs_late_and_never_moves_their_times() -> None:
    jittery = plan(jitter=30)

    again = steps(jittery, T, T).again
    assert T + 60 < again < T + 90
    assert steps(jittery, T, again - 0.001).steps == ()
    assert [step.until for step in steps(jittery, T, again).steps] == [T + 60]
    assert steps(jittery, T, T).again == again


def test_a_clock_that_was_set_back_stops_no_interval() -> None:
    found = steps(plan(), T, T - 3600)

    assert [(step.until, step.runs) for step in found.steps] == [(T - 3600, False)]
    assert found.again == T - 3540


def test_a_clock_that_was_set_back_runs_no_crontab_twice() -> None:
    daily = plan(crontab(0, 12, app=APP))

    assert taken(daily, T, T - 1800) == []
    assert taken(daily, T, T + 10) == []


def test_one_moment_is_run_once() -> None:
    single = plan(NOON + timedelta(hours=1))

    assert taken(single, T, T + 3601) == [(3600, True, 0)]
    assert taken(single, T + 3600, T + 7200) == []


class EveryOther(BaseSchedule):
    """A schedule as Celery's documentation has them made."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(NOON - last_run_at > timedelta(minutes=2), 30)


def test_a_schedule_that_only_knows_whether_it_is_due_is_asked() -> None:
    custom = plan(EveryOther())

    assert [time for time, _, _ in taken(custom, T - 300, T)] == [0]
    assert steps(custom, T - 60, T).steps == ()
    assert steps(custom, T - 60, T).again == T + 30


def test_a_schedule_that_derives_from_ours_and_knows_better_is_asked() -> None:
    class Never(crontab):
        def is_due(self, last_run_at: datetime) -> schedstate:
            return schedstate(False, 77)

    assert steps(plan(Never()), T - 86400, T).again == T + 77


@settings(deadline=None, max_examples=50)
@given(
    every=st.floats(5, 5000),
    late=st.lists(st.floats(0, 5000), min_size=1, max_size=10),
    missed=st.sampled_from(["last", "skip", "all"]),
)
def test_however_one_looks_no_time_is_run_twice_and_none_is_forgotten(
    every: float, late: list[float], missed: str
) -> None:
    entry = plan(every, missed=missed)
    since, now, done = T, T, 0
    for pause in late:
        now += pause
        for step in steps(entry, since, now).steps:
            assert step.until > since
            assert step.until <= now
            done += step.runs + step.skipped
            since = step.until
    times = 0
    moment = schedule(every, app=APP).next_after(NOON)
    while moment.timestamp() <= now:
        times += 1
        moment = schedule(every, app=APP).next_after(moment)
    assert done == times


# -- entries as they are written


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"task": "t"}, "it has no schedule"),
        ({"task": "t", "schedule": True}, "is not a time"),
        ({"task": "t", "schedule": 0}, "an interval of nothing"),
        ({"task": "t", "schedule": "* * *"}, "expected five fields"),
        ({"task": "t", "schedule": "61 * * * *"}, "Invalid end range: 61 > 59"),
        ({"task": "t", "schedule": object()}, "it has no is_due"),
        ({"task": 7, "schedule": 1}, "task=7 is not the name of a task"),
        ({"task": "t", "schedule": 1, "argz": []}, "there is no 'argz'"),
        ({"task": "t", "schedule": 1, "args": "ab"}, "args='ab' is not a list"),
        ({"task": "t", "schedule": 1, "kwargs": []}, "kwargs=[] is not a mapping"),
        ({"task": "t", "schedule": 1, "missed": "some"}, "missed='some' is not one of last, skip"),
        ({"task": "t", "schedule": 1, "overlap": "no"}, "overlap='no' is not one of allow, skip"),
        ({"task": "t", "schedule": 1, "jitter": -1}, "jitter=-1 is not a number of seconds"),
        ({"task": "t", "schedule": 1, "missed_limit": 0}, "missed_limit=0 is not a number"),
        ({"task": "t", "schedule": 1, "start": "now"}, "start='now' is not a datetime"),
    ],
)
def test_what_cannot_be_is_refused_with_the_entrys_name(
    entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"beat_schedule\['tick'\]: ") as caught:
        plan_of("tick", entry, APP)

    assert message in str(caught.value)
    assert not str(caught.value).endswith("..")


@pytest.mark.parametrize(
    "when",
    [
        90,
        timedelta(hours=2),
        schedule(60, relative=True),
        crontab("*/5", {1, 2}, "mon-fri", [1, 15], "1-6"),
        "30 7 * * 1",
        NOON,
        solar("sunset", 48.1, 11.6),
    ],
)
def test_an_entry_survives_being_kept(when: Any) -> None:
    entry = plan(
        when,
        args=[1, "zwei"],
        kwargs={"x": [None]},
        options={"queue": "q"},
        missed="all",
        overlap="skip",
        jitter=3,
        start=NOON,
    )

    again = decode("tick", encode(entry), APP)

    assert again.schedule == entry.schedule
    assert list(again.args) == [1, "zwei"]
    assert (again.kwargs, again.options) == (entry.kwargs, entry.options)
    assert (again.missed, again.overlap, again.jitter) == ("all", "skip", 3)
    assert (again.start, again.end, again.from_code) == (NOON, None, True)


def test_a_schedule_of_somebody_elses_can_be_shown_and_not_rebuilt() -> None:
    kept = encode(plan(EveryOther()))

    with pytest.raises(DecodeError, match=r"'tick' cannot be read: its schedule .*EveryOther"):
        decode("tick", kept, APP)


def test_arguments_that_only_code_has_are_kept_as_text() -> None:
    entry = plan(args=[object], options={"link": {"a": once(NOON)}})

    with pytest.raises(EncodeError):
        encode(entry)
    assert decode("tick", encode_loosely(entry), APP).args == ["<class 'object'>"]


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b"nonsense", encode(plan())[:-9]])
def test_what_is_no_entry_is_refused(kept: bytes) -> None:
    with pytest.raises(DecodeError):
        decode("tick", kept, APP)
