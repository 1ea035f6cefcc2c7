"""When a call is due, and until when: every form of ``countdown``, ``eta`` and ``expires``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from umbel import Task
from umbel.clock import ManualClock

from .conftest import MakeApp, Shop

START = datetime(2026, 1, 1, tzinfo=UTC)
FAR = timedelta(days=10 * 365 + 1).total_seconds()


@pytest.fixture
def task(app: Shop) -> Task[..., None]:
    made: Task[..., None] = app.task(name="it")(lambda *args: None)
    return made


def after(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def test_a_countdown_is_seconds_from_now(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(countdown=90)
    app.send_task("it", countdown=0.5)

    assert [letter.headers["eta"] for letter in app.letters] == [after(90), after(0.5)]
    assert [m.not_before for m in app.sent] == [START.timestamp() + 90, START.timestamp() + 0.5]


@pytest.mark.parametrize("countdown", [0, 0.0, None])
def test_no_countdown_is_at_once(app: Shop, task: Task[..., None], countdown: Any) -> None:
    task.apply_async(countdown=countdown)

    assert app.letter.headers["eta"] is None
    assert app.letter.message.not_before is None


def test_a_countdown_below_zero_was_due_before(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(countdown=-5)
    assert app.letter.headers["eta"] == after(-5)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        True,
        False,
        "5",
        b"5",
        FAR,
        -FAR,
        1e308,
        10**400,
        [1],
    ],
)
@pytest.mark.parametrize("option", ["countdown", "expires"])
def test_what_is_no_number_of_seconds_is_refused_by_name(
    app: Shop, task: Task[..., None], option: str, value: Any
) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"{option}="):
        task.apply_async(**options)
    with pytest.raises(ValueError, match=f"{option}="):
        app.send_task("it", **options)
    assert app.sent == []


def test_an_eta_is_a_moment_in_any_zone(app: Shop, task: Task[..., None]) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    task.apply_async(eta=datetime(2026, 3, 1, 12, tzinfo=east))

    assert app.letter.headers["eta"] == "2026-03-01T12:00:00+05:30"
    assert app.letter.message.not_before == datetime(2026, 3, 1, 6, 30, tzinfo=UTC).timestamp()


def test_an_eta_may_be_text(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(eta="2026-03-01T12:00:00+00:00")
    task.apply_async(eta="2026-03-01T12:00:00Z")

    assert {m.not_before for m in app.sent} == {datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()}


def test_an_eta_without_zone_is_in_the_apps(make_app: MakeApp, clock: ManualClock) -> None:
    paris = make_app(timezone="Europe/Paris", clock=clock)
    task = paris.task(name="it")(lambda: None)
    task.apply_async(eta=datetime(2026, 7, 1, 12))
    task.apply_async(expires=datetime(2026, 1, 31, 12))

    assert paris.sent[0].not_before == datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp()
    assert paris.sent[1].expires_at == datetime(2026, 1, 31, 11, tzinfo=UTC).timestamp()


def test_an_eta_in_a_gap_or_fold_of_the_clock_is_one_moment(
    make_app: MakeApp, clock: ManualClock
) -> None:
    paris = make_app(timezone="Europe/Paris", clock=clock)
    task = paris.task(name="it")(lambda: None)
    # The night of the change: 02:30 does not exist in March, and exists twice in October.
    task.apply_async(eta=datetime(2026, 3, 29, 2, 30))
    task.apply_async(eta=datetime(2026, 10, 25, 2, 30))
    task.apply_async(eta=datetime(2026, 10, 25, 2, 30, fold=1))

    gap, first, second = [m.not_before for m in paris.sent]
    assert gap == datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp()
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert second == datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()
    for letter in paris.letters:
        # What the header says is the same moment, whoever reads it.
        assert (
            datetime.fromisoformat(letter.headers["eta"]).timestamp() == letter.message.not_before
        )


@pytest.mark.parametrize(
    "eta",
    [
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        "9999-12-31T23:00:00-14:00",
        "tomorrow",
        "",
        5,
        1e308,
        True,
        object(),
    ],
)
@pytest.mark.parametrize("option", ["eta", "expires"])
def test_what_is_no_moment_is_refused_by_name(
    task: Task[..., None], app: Shop, option: str, eta: Any
) -> None:
    if option == "expires" and eta == 5 and not isinstance(eta, bool):
        pytest.skip("a number of seconds")
    options: dict[str, Any] = {option: eta}
    with pytest.raises(ValueError, match=f"{option}="):
        task.apply_async(**options)
    assert app.sent == []


@pytest.mark.parametrize("year", [1, 1900, 9999])
def test_far_years_are_moments(app: Shop, task: Task[..., None], year: int) -> None:
    moment = datetime(year, 6, 1, tzinfo=UTC)
    task.apply_async(eta=moment)

    assert app.letter.message.not_before == moment.timestamp()
    assert app.letter.headers["eta"] == moment.isoformat()


def test_a_countdown_wins_over_an_eta(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(countdown=5, eta=START)
    assert app.letter.headers["eta"] == after(5)


def test_expires_in_seconds_or_at_a_moment(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(expires=60)
    task.apply_async(expires=START + timedelta(seconds=60))
    task.apply_async(expires=after(60))
    task.apply_async(expires=-1)

    assert [m.expires_at for m in app.sent] == [START.timestamp() + s for s in (60, 60, 60, -1)]
    assert [letter.headers["expires"] for letter in app.letters] == [after(60)] * 3 + [after(-1)]


def test_expires_may_be_a_timedelta_as_may_be_a_countdown(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(expires=timedelta(minutes=1), countdown=timedelta(seconds=5))

    assert app.letter.headers["expires"] == after(60)
    assert app.letter.headers["eta"] == after(5)


def test_a_task_may_expire_by_itself(app: Shop) -> None:
    task = app.task(name="own", expires=30)(lambda: None)
    task.delay()
    task.apply_async(expires=60)
    task.apply_many([()])
    app.send_task("own")
    app.send_many([task.s()])

    assert [letter.headers["expires"] for letter in app.letters] == [
        after(seconds) for seconds in (30, 60, 30, 30, 30)
    ]


def test_many_calls_at_one_time(app: Shop, task: Task[..., None]) -> None:
    task.apply_many([(1,), (2,)], countdown=10, expires=20)

    assert [letter.headers["eta"] for letter in app.letters] == [after(10)] * 2
    assert [letter.headers["expires"] for letter in app.letters] == [after(20)] * 2


def test_now_is_in_the_apps_zone(make_app: MakeApp, clock: ManualClock) -> None:
    app = make_app(timezone="Asia/Tokyo", clock=clock)

    assert app.now() == START
    assert app.now().isoformat() == "2026-01-01T09:00:00+09:00"
    app.conf.timezone = None
    assert app.now().utcoffset() == timedelta(0)
