"""Trying again: what the next message says, and when there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import MaxRetriesExceededError, Reject, Retry
from umbel.execution.retries import backoff
from umbel.model import Failed, Rejected, Retried, Succeeded
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call

START = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = datetime(2027, 1, 1)


def again(self: Any, *args: Any, **options: Any) -> None:
    raise self.retry(**options)


def test_the_next_try_is_the_same_call_once_more(bench: Any) -> None:
    bench.task(lambda self, *args, **kwargs: again(self, exc=ValueError("y"), countdown=3))
    chord = {"task": "tasks.body", "args": [], "kwargs": {}, "options": {}}
    link = {"task": "tasks.link", "args": [], "kwargs": {}, "options": {}}
    call = {
        "kwargs": {"y": 2},
        "root_id": "root",
        "parent_id": "parent",
        "group_id": "group",
        "group_index": 3,
        "retries": 1,
        "time_limit": 30.0,
        "soft_time_limit": 20.0,
        "shadow": "shade",
        "origin": "gen1@far",
        "callbacks": [link],
        "errbacks": [link],
        "chain": [link],
        "chord": chord,
        "replaced_task_nesting": 2,
        "stamped_headers": ["stamp"],
        "stamps": {"stamp": "v"},
        "headers": {"tenant": "a", "x-death": [1]},
        "priority": 4,
        "exchange": "topics",
        "routing_key": "a.b",
        "reply_to": "oid",
        "expires": START + timedelta(hours=1),
        "expires_at": (START + timedelta(hours=1)).timestamp(),
        "delivery_mode": 1,
        "properties": {"app_id": "shop"},
    }
    first = wire_tasks.encode(Call(task="tasks.it", id="id-1", args=(1,), **call))

    outcome = bench.runner.run(bench.understand(first))

    assert type(outcome) is Retried
    expected = {
        **bench.headers(first),
        "retries": 2,
        "eta": (START + timedelta(seconds=3)).isoformat(),
    }
    del expected["x-death"]
    assert bench.headers(outcome.message) == expected
    assert bench.body(outcome.message) == bench.body(first)
    for field in ("id", "exchange", "routing_key", "priority", "reply_to", "correlation_id"):
        assert getattr(outcome.message, field) == getattr(first, field)
    assert outcome.message.expires_at == first.expires_at
    assert outcome.message.not_before == START.timestamp() + 3
    assert outcome.message.properties["delivery_mode"] == 1
    assert outcome.message.properties["app_id"] == "shop"


def test_the_state_is_retry_and_the_result_what_made_it_so(bench: Any) -> None:
    bench.task(lambda self: again(self, exc=ValueError("y")))

    meta = bench.read(bench.run().record)

    assert (meta.status, repr(meta.result)) == ("RETRY", "ValueError('y')")
    assert "Retry" in meta.traceback


def test_a_first_task_becomes_the_parent_of_its_own_retry(bench: Any) -> None:
    bench.task(again)

    headers = bench.headers(bench.run().message)

    assert (headers["root_id"], headers["parent_id"]) == ("id-1", "id-1")


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, START + timedelta(seconds=180)),
        ({"countdown": 0}, None),
        ({"countdown": 2.5}, START + timedelta(seconds=2.5)),
        ({"eta": datetime(2027, 1, 1, tzinfo=UTC)}, datetime(2027, 1, 1, tzinfo=UTC)),
        ({"eta": NAIVE}, datetime(2027, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_the_next_try_is_due_when_it_was_asked_for(bench: Any, options: Any, due: Any) -> None:
    bench.task(lambda self: again(self, **options))
    runner = bench.with_tools(timezone=timezone(timedelta(hours=2)))

    message = runner.run(bench.request()).message

    assert message.not_before == (due.timestamp() if due else None)
    assert bench.headers(message)["eta"] == (due.isoformat() if due else None)


def test_options_win_over_what_the_message_says(bench: Any) -> None:
    link = {"task": "tasks.link", "args": [], "kwargs": {}, "options": {}}
    bench.task(
        lambda self, *_, **__: again(
            self,
            args=(9,),
            kwargs={"z": 1},
            queue="slow",
            priority=7,
            headers={"tenant": "b"},
            link=link,
            time_limit=5,
            expires=60,
        )
    )

    message = bench.run(1, headers={"tenant": "a", "kept": 1}, priority=1).message

    body, headers = bench.body(message), bench.headers(message)
    assert (body.args, body.kwargs, body.callbacks) == ([9], {"z": 1}, [link])
    assert (message.exchange, message.routing_key, message.priority) == ("", "slow", 7)
    assert (headers["tenant"], headers["kept"]) == ("b", 1)
    assert headers["timelimit"] == [5, None]
    assert message.expires_at == START.timestamp() + 60


def test_expires_travels_on_as_it_was_written(bench: Any) -> None:
    bench.task(again)
    text = "2026-06-01T12:00:00+02:00"

    message = bench.run(expires=text, expires_at=1780308000.0).message

    assert bench.headers(message)["expires"] == text


def test_the_serializer_and_compression_stay(bench: Any) -> None:
    bench.task(lambda self, *_: again(self))

    message = bench.run("x" * 500, compression="gzip").message

    assert message.content_type == "application/json"
    assert bench.headers(message)["compression"] == "application/x-gzip"
    assert len(message.body) < 300


@pytest.mark.parametrize(("limit", "ends"), [(None, False), (5, False), (2, True), (0, True)])
def test_there_are_no_more_tries_than_allowed(bench: Any, limit: Any, ends: bool) -> None:
    bench.task(again, max_retries=limit)

    outcome = bench.run(retries=2)

    assert type(outcome) is (Failed if ends else Retried)
    if ends:
        error = bench.read(outcome.record).result
        assert type(error) is MaxRetriesExceededError
        assert "Can't retry tasks.it[id-1] args:[] kwargs:{}" in str(error)


def test_a_task_may_say_that_a_try_does_not_count(bench: Any) -> None:
    def wait(self: Any) -> None:
        self.request.retries -= 1
        raise self.retry(max_retries=1)

    bench.task(wait)
    message = wire_tasks.encode(Call(task="tasks.it", id="id-1", retries=1))

    outcome = bench.runner.run(bench.understand(message))

    assert isinstance(outcome, Retried)
    assert b'"retries":1,' in outcome.message.headers


def test_after_the_last_try_the_task_fails_with_what_made_it_retry(bench: Any) -> None:
    bench.task(lambda self: again(self, exc=KeyError("y"), max_retries=1))

    outcome = bench.run(retries=1)

    assert repr(bench.read(outcome.record).result) == "KeyError('y')"


def test_a_retry_that_was_not_thrown_is_sent_at_once(bench: Any) -> None:
    def lenient(self: Any) -> str:
        wanted = self.retry(throw=False, countdown=1)
        return f"{wanted} {len(bench.published)}"

    bench.task(lenient)

    outcome = bench.run()

    assert bench.read(outcome.record).result == "Retry in 1s 1"
    assert outcome.follow_ups == ()
    assert bench.headers(bench.published[0])["retries"] == 1


def test_a_retry_that_the_task_swallowed_is_sent_with_the_outcome(bench: Any) -> None:
    def swallow(self: Any) -> None:
        try:
            self.retry()
        except Exception:
            return

    bench.task(swallow)

    outcome = bench.run()

    assert type(outcome) is Succeeded
    assert [bench.headers(message)["retries"] for message in outcome.follow_ups] == [1]


def test_a_retry_raised_by_hand_is_a_retry(bench: Any) -> None:
    def by_hand(self: Any) -> None:
        raise Retry("later", when=10)

    bench.task(by_hand)

    outcome = bench.run()

    assert type(outcome) is Retried
    assert outcome.message.not_before == START.timestamp() + 10


def test_a_next_try_that_cannot_be_encoded_gives_the_task_up(bench: Any) -> None:
    bench.task(lambda self: again(self, args=(object(),)))

    outcome = bench.run()

    assert type(outcome) is Rejected
    assert not outcome.requeue
    assert "cannot encode an instance of 'object' at args[0]" in outcome.reason


def test_a_next_try_that_cannot_be_sent_gives_the_task_up(bench: Any) -> None:
    def away(_: object) -> None:
        raise OSError("broker away")

    bench.task(lambda self: again(self, throw=False))

    outcome = bench.with_tools(publish=away).run(bench.request())

    assert type(outcome) is Rejected


def test_called_like_a_function_a_task_raises_what_went_wrong(bench: Any) -> None:
    job = bench.task(lambda self: again(self, exc=ValueError("y")))
    outer = bench.task(lambda self: job(), name="tasks.outer")

    with pytest.raises(ValueError, match="y"):
        job()
    outcome = bench.run(task=outer.name)

    assert type(outcome) is Failed


def test_called_like_a_function_without_an_exception_what_is_handled_is_raised(bench: Any) -> None:
    def handling(self: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            self.retry()

    job = bench.task(handling)

    with pytest.raises(KeyError, match="inner"):
        job()
    with pytest.raises(Retry, match="can be retried"):
        bench.task(again)()


class Flaky(OSError):
    pass


def raise_(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("options", "error", "kind"),
    [
        ({"autoretry_for": (OSError,)}, Flaky(), Retried),
        ({"autoretry_for": (OSError,)}, ValueError(), Failed),
        ({"autoretry_for": (OSError,), "dont_autoretry_for": (Flaky,)}, Flaky(), Failed),
        ({"autoretry_for": (Exception,)}, Reject("no"), Rejected),
        ({"autoretry_for": (SystemExit,)}, SystemExit(), Retried),
        ({"autoretry_for": (OSError,), "max_retries": 0}, Flaky(), Failed),
        ({"autoretry_for": (OSError,), "retry_kwargs": {"max_retries": 0}}, Flaky(), Failed),
    ],
)
def test_a_task_is_tried_again_by_itself_for_what_it_names(
    bench: Any, options: Any, error: BaseException, kind: type
) -> None:
    bench.task(lambda self: raise_(error), **options)

    outcome = bench.run()

    assert type(outcome) is kind
    if kind is Failed:
        meta = bench.read(outcome.record)
        assert type(meta.result) is type(error)
        assert "umbel/execution" not in meta.traceback


def test_autoretry_waits_as_told(bench: Any) -> None:
    options = {"autoretry_for": (OSError,), "max_retries": None}
    bench.task(lambda self: raise_(OSError()), **options, name="tasks.default")
    bench.task(
        lambda self: raise_(OSError()),
        **options,
        name="tasks.fixed",
        retry_kwargs={"countdown": 5, "queue": "slow"},
    )
    bench.task(
        lambda self: raise_(OSError()),
        **options,
        name="tasks.growing",
        retry_backoff=3,
        retry_backoff_max=20,
        retry_jitter=False,
    )

    def delay(task: str, retries: int = 0) -> float:
        return float(bench.run(task=task, retries=retries).message.not_before - START.timestamp())

    assert delay("tasks.default") == 180
    assert delay("tasks.fixed") == 5
    assert [delay("tasks.growing", n) for n in range(4)] == [3, 6, 12, 20]
    assert bench.run(task="tasks.fixed").message.routing_key == "slow"


def test_what_the_task_said_about_max_retries_holds_for_autoretry(bench: Any) -> None:
    def swallow_own_retry(self: Any) -> None:
        try:
            self.retry(max_retries=9)
        except Retry:
            raise OSError from None

    bench.task(swallow_own_retry, autoretry_for=(OSError,), max_retries=1)

    assert type(bench.run(retries=5)) is Retried


def test_retries_of_another_apps_runner_do_not_mix(bench: Any) -> None:
    inner = bench.task(again, name="tasks.inner")

    def outer(self: Any) -> str:
        try:
            inner()
        except Retry as error:
            return str(error)
        return ""

    bench.task(outer, name="tasks.outer")

    outcome = bench.run(task="tasks.outer")

    assert bench.read(outcome.record).result == "Task can be retried"
    assert outcome.follow_ups == ()


@given(
    attempt=st.integers(1, 10**9),
    factor=st.floats(0.1, 1e6),
    maximum=st.floats(1, 1e6),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_backoff_stays_within_its_bounds(
    attempt: int, factor: float, maximum: float, draw: float
) -> None:
    full = backoff(attempt, factor=factor, maximum=maximum, jitter=False)
    drawn = backoff(attempt, factor=factor, maximum=maximum, jitter=True, random=lambda: draw)

    assert 0 <= drawn <= full <= maximum
    assert full >= min(factor, maximum)
