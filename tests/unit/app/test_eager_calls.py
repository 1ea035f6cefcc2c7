"""``apply`` and ``task_always_eager``: tasks that run where they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Task
from umbel.exceptions import EncodeError, Ignore, NotRegistered, Reject, Retry
from umbel.result import EagerResult, allow_join_result
from umbel.signals import before_task_publish

from .conftest import MakeApp, Shop


@pytest.fixture
def eager(make_app: MakeApp) -> Iterator[Shop]:
    app = make_app(task_always_eager=True)
    yield app
    assert app.sent == []


@pytest.fixture(params=["apply", "always"])
def run(request: pytest.FixtureRequest, make_app: MakeApp) -> Any:
    """Runs a task eagerly in both ways, with the options of ``apply_async``."""

    def go(task: Task[..., Any], *args: Any, **options: Any) -> EagerResult[Any]:
        if request.param == "apply":
            return task.apply(args, **options)
        task.app.conf.task_always_eager = True
        result = task.apply_async(args, **options)
        assert isinstance(result, EagerResult)
        return result

    return go


def test_it_runs_at_once_and_returns_a_finished_result(app: Shop, run: Any) -> None:
    result = run(app.task(name="add")(lambda x, y: x + y), 2, 3)

    assert result.get() == result.result == 5
    assert (result.state, result.ready(), result.successful(), result.failed()) == (
        "SUCCESS",
        True,
        True,
        False,
    )
    assert app.sent == []


def test_a_failure_is_kept_or_raised(app: Shop, run: Any) -> None:
    @app.task(name="bad")
    def bad() -> None:
        raise LookupError("no")

    result = run(bad)

    assert result.state == "FAILURE"
    assert "LookupError: no" in (result.traceback or "")
    with pytest.raises(LookupError, match="no"):
        result.get()
    assert isinstance(result.get(propagate=False), LookupError)


def test_propagation_is_a_setting_that_apply_overrides(app: Shop) -> None:
    @app.task(name="bad")
    def bad() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        bad.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(LookupError):
        bad.apply()
    assert bad.apply(throw=False).failed()
    app.conf.task_always_eager = True
    with pytest.raises(LookupError):
        bad.delay()


def test_the_request_says_that_it_is_eager(app: Shop, run: Any) -> None:
    seen: list[Any] = []

    @app.task(name="look", bind=True)
    def look(self: Any, x: int) -> None:
        request = self.request
        seen.extend([request.is_eager, request.called_directly, request.id, request.retries])
        seen.extend([request.args, request.kwargs, request.headers, request.hostname])
        seen.append(request.delivery_info["is_eager"])

    run(look, 1, task_id="mine", headers={"trace": "t"})

    assert seen == [True, False, "mine", 0, [1], {}, {"trace": "t"}, os.uname().nodename, True]


def test_retries_happen_at_once(app: Shop, run: Any) -> None:
    tries: list[int] = []

    @app.task(name="again", bind=True, max_retries=5)
    def again(self: Any) -> str:
        tries.append(self.request.retries)
        if len(tries) < 3:
            raise self.retry(countdown=1000)
        return "done"

    assert run(again).get() == "done"
    assert tries == [0, 1, 2]


def test_retries_end_where_they_should(app: Shop, run: Any) -> None:
    @app.task(name="again", autoretry_for=(OSError,), max_retries=2, retry_backoff=1000)
    def again(tries: int) -> None:
        raise OSError("down")

    result = run(again, 0)

    assert result.state == "FAILURE"
    assert isinstance(result.result, OSError)


def test_a_retry_that_is_to_be_raised_is(app: Shop) -> None:
    @app.task(name="again", bind=True)
    def again(self: Any) -> None:
        raise self.retry()

    with pytest.raises(Retry):
        again.apply(throw=True)


@pytest.mark.parametrize(
    ("error", "state"), [(Ignore(), "IGNORED"), (Reject("no", requeue=False), "REJECTED")]
)
def test_ignored_and_rejected_ones_say_so(
    app: Shop, run: Any, error: Exception, state: str
) -> None:
    @app.task(name="it")
    def it() -> None:
        raise error

    result = run(it)

    assert result.state == state
    assert not result.successful()


def test_links_run_at_once_and_nothing_is_published(app: Shop, run: Any) -> None:
    ran: list[Any] = []

    @app.task(name="note", bind=True)
    def note(self: Any, *args: Any, **kwargs: Any) -> str:
        ran.append((args, kwargs, self.request.parent_id, self.request.root_id))
        return "noted"

    first = app.task(name="first")(lambda: 5)
    run(
        first,
        task_id="p",
        link=[note.s(6, key="a"), note.si(7).set(link=note.s(8))],
    )

    assert ran == [
        ((5, 6), {"key": "a"}, "p", "p"),
        ((7,), {}, "p", "p"),
        (("noted", 8), {}, ran[2][2], "p"),
    ]
    assert app.sent == []


def test_error_callbacks_run_at_once(app: Shop, run: Any) -> None:
    ran: list[Any] = []

    @app.task(name="old")
    def old(task_id: str) -> None:
        ran.append(task_id)

    @app.task(name="new")
    def new(request: Any, exc: BaseException, traceback: str) -> None:
        ran.append((request.id, str(exc)))

    @app.task(name="bad")
    def bad() -> None:
        raise LookupError("no")

    run(bad, task_id="p", link_error=[old.s(), new.s()])

    assert sorted(map(str, ran)) == ["('p', 'no')", "p"]


def test_a_link_to_an_unknown_task_is_named(app: Shop, run: Any) -> None:
    first = app.task(name="first")(lambda: 5)

    with pytest.raises(NotRegistered, match=r"no\.such"):
        run(first, link=app.signature("no.such"))


def test_arguments_go_through_the_serializer_where_they_would_be_sent(eager: Shop) -> None:
    kind = eager.task(name="kind")(lambda x: type(x).__name__)

    assert kind.delay((1, 2)).get() == "list"
    assert kind.apply(((1, 2),)).get() == "tuple"
    with pytest.raises(EncodeError):
        kind.delay(object())


def test_arguments_are_checked(app: Shop, run: Any) -> None:
    with pytest.raises(TypeError, match="'x'"):
        run(app.task(name="it")(lambda x: x))


def test_many_calls_run_in_order(eager: Shop) -> None:
    ran: list[int] = []
    task = eager.task(name="it")(ran.append)

    results = task.apply_many([(n,) for n in range(5)])

    assert ran == list(range(5))
    assert all(result.successful() for result in results)


async def test_coroutine_tasks_run_eagerly_on_a_running_loop_too(eager: Shop) -> None:
    import asyncio

    @eager.task(name="it")
    async def it(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    result = await it.adelay(1)

    assert await result == 2
    assert await result.aget() == 2


def test_coroutine_tasks_run_eagerly(app: Shop, run: Any) -> None:
    @app.task(name="it")
    async def it(x: int) -> int:
        return x + 1

    assert run(it, 1).get() == 2


def test_tasks_that_call_others_eagerly_must_not_wait_for_them_either(eager: Shop) -> None:
    inner = eager.task(name="inner")(lambda: 1)
    outer = eager.task(name="outer")(lambda: inner.delay().get())

    @eager.task(name="allowed")
    def allowed() -> int:
        with allow_join_result():
            return inner.delay().get() + inner.delay().get(disable_sync_subtasks=False)

    with pytest.raises(RuntimeError, match="within a task"):
        outer.delay().get()
    assert allowed.delay().get() == 2
    assert outer.apply().get() == 1


def test_countdowns_are_not_waited_for(app: Shop, run: Any) -> None:
    assert run(app.task(name="it")(lambda: 1), countdown=1000).get() == 1


def test_nothing_is_announced_as_published(eager: Shop) -> None:
    heard: list[Any] = []

    def hear(**given: Any) -> None:
        heard.append(given)

    before_task_publish.connect(hear)
    try:
        eager.task(name="it")(lambda: 1).delay()
    finally:
        before_task_publish.disconnect(hear)

    assert heard == []


def test_an_eager_result_is_stored_where_it_is_asked_for(make_app: MakeApp) -> None:
    app = make_app(backend="memory://eager-results", task_always_eager=True)
    kept = app.task(name="kept", store_eager_result=True)(lambda: 7)
    lost = app.task(name="lost")(lambda: 7)

    assert app.AsyncResult(kept.delay().id).get(timeout=60) == 7
    assert app.AsyncResult(lost.delay().id).state == "PENDING"


def test_a_state_of_ones_own_is_stored_by_an_eager_task(make_app: MakeApp) -> None:
    app = make_app(backend="memory://eager-states")
    seen: list[Any] = []

    @app.task(name="it", bind=True)
    def it(self: Any) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})
        seen.append((app.AsyncResult(self.request.id).state, app.AsyncResult(self.request.id).info))

    it.apply()

    assert seen == [("PROGRESS", {"done": 1})]


def test_handlers_and_signals_are_told(app: Shop, run: Any) -> None:
    told: list[str] = []

    class Telling(Task[..., Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            told.append("before_start")

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            told.append(f"on_success {retval}")

        def after_return(self, status: str, *_: Any) -> None:
            told.append(f"after_return {status}")

    run(app.task(name="it", base=Telling)(lambda: 3))

    assert told == ["before_start", "on_success 3", "after_return SUCCESS"]
