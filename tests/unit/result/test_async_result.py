"""``AsyncResult``: ask, wait, read."""

from __future__ import annotations

import asyncio
import builtins
import copy
import pickle
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import (
    ImproperlyConfigured,
    TaskRevokedError,
    TimeoutError,  # noqa: A004 - ours
    WorkerLostError,
)
from umbel.result import AsyncResult, EagerResult, ResultBase, result_from_tuple

from .conftest import Ended, Store


class Odd(Exception):
    """An exception that the reader has."""


def test_a_task_nobody_knows_is_pending(app: Store) -> None:
    result = app.AsyncResult("unknown")

    assert (result.state, result.status) == ("PENDING", "PENDING")
    assert (result.ready(), result.successful(), result.failed()) == (False, False, False)
    assert result.result is result.info is result.traceback is result.children is None
    assert result.date_done is None
    assert not result.exists()


def test_a_success_is_read(app: Store) -> None:
    app.succeed("a", {"total": 3})
    result: AsyncResult[Any] = app.AsyncResult("a")

    assert result.get(timeout=60) == result.result == result.info == {"total": 3}
    assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)
    assert result.exists()
    assert result.date_done is not None
    assert abs((datetime.now(UTC) - result.date_done).total_seconds()) < 60


def test_a_failure_is_raised_as_itself_with_the_workers_traceback(app: Store) -> None:
    app.fail("a", LookupError("no", 3), "Traceback: line 5")
    result = app.AsyncResult("a")

    with pytest.raises(LookupError) as caught:
        result.get(timeout=60)
    assert caught.value.args == ("no", 3)
    assert any("line 5" in note for note in caught.value.__notes__)
    assert result.traceback == "Traceback: line 5"
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    assert isinstance(result.result, LookupError)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_what_would_end_the_reader_is_raised_as_a_lost_worker(
    app: Store, error: BaseException
) -> None:
    app.fail("a", error, "Traceback: line 5")
    result = app.AsyncResult("a")

    async def wait() -> None:
        await result

    with pytest.raises(WorkerLostError, match=type(error).__name__) as caught:
        result.get(timeout=60)
    assert type(caught.value.__cause__) is type(error)
    assert any("line 5" in note for note in caught.value.__notes__)
    with pytest.raises(WorkerLostError):
        asyncio.run(wait())
    assert type(result.get(propagate=False, timeout=60)) is type(error)


def test_a_failure_raised_twice_is_noted_once(app: Store) -> None:
    app.fail("a", LookupError("no"))
    result = app.AsyncResult("a")
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            result.get(timeout=60)

    assert len(caught.value.__notes__) == 1


def test_a_failure_is_returned_where_it_is_not_to_be_raised(app: Store) -> None:
    app.fail("a", LookupError("no"))

    assert isinstance(app.AsyncResult("a").get(propagate=False, timeout=60), LookupError)
    assert isinstance(app.AsyncResult("a").maybe_throw(propagate=False), LookupError)
    with pytest.raises(LookupError):
        app.AsyncResult("a").maybe_throw()
    with pytest.raises(LookupError):
        app.AsyncResult("a").maybe_reraise()


def test_maybe_throw_on_a_task_that_still_waits_does_nothing(app: Store) -> None:
    assert app.AsyncResult("waiting").maybe_throw() is None


def test_waiting_ends_when_the_result_arrives(app: Store) -> None:
    result = app.AsyncResult("a")
    thread = app.later(app.succeed, "a", 5)

    assert result.get(timeout=60) == 5
    thread.join()


def test_a_result_that_does_not_come_is_a_timeout(app: Store) -> None:
    with pytest.raises(TimeoutError, match=r"'a' was not ready in 0\.01"):
        app.AsyncResult("a").get(timeout=0.01)
    with pytest.raises(AsyncResult.TimeoutError):
        app.AsyncResult("a").wait(timeout=0.01)


def test_a_timeout_of_nothing_still_looks_once(app: Store) -> None:
    app.succeed("a", 5)
    assert app.AsyncResult("a").get(timeout=0) == 5
    with pytest.raises(TimeoutError):
        app.AsyncResult("b").get(timeout=0)


def test_custom_states_are_seen_and_not_waited_out(app: Store) -> None:
    app.progress("a", "PROGRESS", {"done": 3})
    result = app.AsyncResult("a")

    assert (result.state, result.info) == ("PROGRESS", {"done": 3})
    assert not result.ready()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01)
    app.succeed("a", 1)
    assert (result.state, result.info) == ("SUCCESS", 1)


def test_a_revoked_task_raises_what_it_was_revoked_with(app: Store) -> None:
    from umbel.exceptions import TaskRevokedError

    app.progress("a", "REVOKED", TaskRevokedError("terminated"))

    with pytest.raises(TaskRevokedError, match="terminated"):
        app.AsyncResult("a").get(timeout=60)
    assert app.AsyncResult("a").ready()
    assert not app.AsyncResult("a").failed()


def test_every_state_on_the_way_is_told(app: Store) -> None:
    seen: list[tuple[str, Any]] = []

    def note(message: dict[str, Any]) -> None:
        seen.append((message["status"], message["result"]))
        steps[len(seen)]()

    steps = {
        1: lambda: app.later(app.progress, "a", "PROGRESS", 2),
        2: lambda: app.later(app.succeed, "a", 3),
        3: lambda: None,
    }
    app.progress("a", "PROGRESS", 1)

    assert app.AsyncResult("a").get(timeout=60, on_message=note) == 3
    assert seen == [("PROGRESS", 1), ("PROGRESS", 2), ("SUCCESS", 3)]


def test_the_callback_gets_id_and_value(app: Store) -> None:
    app.succeed("a", 5)
    told: list[Any] = []

    value = app.AsyncResult("a").get(timeout=60, callback=lambda *args: told.append(args))

    assert value == 5
    assert told == [("a", 5)]


def test_the_interval_callback_is_called_while_waiting(app: Store) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            app.later(app.succeed, "a", 5)

    assert app.AsyncResult("a").get(timeout=60, interval=0.001, on_interval=tick) == 5
    assert len(ticks) >= 3


def test_an_interval_callback_that_fails_ends_the_waiting(app: Store) -> None:
    def fail() -> None:
        raise Odd("enough")

    with pytest.raises(Odd, match="enough"):
        app.AsyncResult("a").get(timeout=60, interval=0.001, on_interval=fail)


def test_a_timeout_of_the_callers_own_code_is_not_the_results(app: Store) -> None:
    def fail() -> None:
        raise builtins.TimeoutError("mine")

    with pytest.raises(builtins.TimeoutError, match="mine"):
        app.AsyncResult("a").get(timeout=60, interval=0.001, on_interval=fail)


def test_a_final_result_is_asked_for_once(app: Store) -> None:
    app.succeed("a", 5)
    result = app.AsyncResult("a")
    assert result.get(timeout=60) == 5
    app.AsyncResult("a").forget()

    assert result.get(timeout=60) == 5
    assert result.state == "SUCCESS"


def test_a_forgotten_result_is_gone(app: Store) -> None:
    app.succeed("a", 5)
    result = app.AsyncResult("a")
    assert result.ready()
    result.forget()

    assert result.state == "PENDING"


def test_a_forgotten_result_whose_id_changes_is_asked_anew(app: Store) -> None:
    app.succeed("a", 5)
    app.succeed("b", 6)
    result = app.AsyncResult("a")
    assert result.get(timeout=60) == 5
    result.task_id = "b"

    assert result.task_id == result.id == "b"
    assert result.get(timeout=60) == 6


async def test_results_can_be_awaited(app: Store) -> None:
    store = asyncio.to_thread(app.succeed, "a", 5)
    waiting = asyncio.ensure_future(app.AsyncResult("a").aget(timeout=60))
    await store

    assert await waiting == 5
    assert await app.AsyncResult("a") == 5
    assert await app.AsyncResult("a").astate() == "SUCCESS"
    await asyncio.to_thread(app.fail, "b", LookupError("no"))
    with pytest.raises(LookupError):
        await app.AsyncResult("b")
    assert isinstance(await app.AsyncResult("b").aget(propagate=False), LookupError)
    with pytest.raises(TimeoutError):
        await app.AsyncResult("c").aget(timeout=0.01)
    await app.AsyncResult("a").aforget()
    assert await app.AsyncResult("a").astate() == "PENDING"
    await app.aclose()


async def test_waiting_can_be_cancelled_and_many_wait_at_once(app: Store) -> None:
    waits = [asyncio.ensure_future(app.AsyncResult(f"t{n}").aget(timeout=60)) for n in range(50)]
    await asyncio.sleep(0)
    waits[0].cancel()
    for n in range(1, 50):
        await asyncio.to_thread(app.succeed, f"t{n}", n)
    values = await asyncio.gather(*waits, return_exceptions=True)
    await app.aclose()

    assert isinstance(values[0], asyncio.CancelledError)
    assert values[1:] == list(range(1, 50))


async def test_the_synchronous_way_works_below_a_running_loop(app: Store) -> None:
    await asyncio.to_thread(app.succeed, "a", 5)

    assert app.AsyncResult("a").get(timeout=60) == 5
    assert app.AsyncResult("a").state == "SUCCESS"


def test_many_threads_wait_each_for_their_own(app: Store) -> None:
    values: dict[int, Any] = {}

    def wait(number: int) -> None:
        values[number] = app.AsyncResult(f"t{number}").get(timeout=60)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in reversed(range(8)):
        app.succeed(f"t{number}", number)
    for thread in threads:
        thread.join(60)

    assert values == {number: number for number in range(8)}


def test_extended_fields_are_read(app: Store) -> None:
    app.conf.result_extended = True
    extra = {
        "name": "add",
        "args": [1],
        "kwargs": {"y": 2},
        "worker": "w@h",
        "retries": 2,
        "queue": "slow",
    }
    app.succeed("a", 5, extra=extra)
    result = app.AsyncResult("a")

    assert (result.name, result.worker, result.retries, result.queue) == ("add", "w@h", 2, "slow")
    assert (result.args, result.kwargs) == ([1], {"y": 2})


def test_children_are_results(app: Store) -> None:
    app.succeed("a", 5, children=[[["b", None], None]])
    app.succeed("b", 6)
    [child] = app.AsyncResult("a").children or []

    assert isinstance(child, AsyncResult)
    assert child.get(timeout=60) == 6


def test_a_failed_parent_is_raised_instead_of_waiting(app: Store) -> None:
    app.fail("first", LookupError("no"))
    parent = app.AsyncResult("first")
    result = app.AsyncResult("second", parent=parent)

    with pytest.raises(LookupError):
        result.get(timeout=60)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01, follow_parents=False)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01, propagate=False)


def test_a_parent_that_fails_while_its_child_is_waited_for_is_raised(app: Store) -> None:
    first = app.AsyncResult("first")
    result = app.AsyncResult("third", parent=app.AsyncResult("second", parent=first))
    seen: list[str] = []

    def watched(_: object) -> None:
        if not seen:
            # It is being waited for by now.
            app.later(app.fail, "first", LookupError("no"))
        seen.append("message")

    app.progress("third", "WAITING")
    with pytest.raises(LookupError):
        result.get(timeout=60, on_message=watched)
    assert seen == ["message"]


async def test_a_parent_that_is_revoked_while_its_child_is_awaited_is_raised(app: Store) -> None:
    result = app.AsyncResult("second", parent=app.AsyncResult("first"))
    waiting = asyncio.create_task(result.aget(timeout=60))
    await asyncio.sleep(0)

    revoked = app.codec.state(Ended("first"), "REVOKED", TaskRevokedError("revoked"))
    await asyncio.to_thread(app.keep, revoked)

    with pytest.raises(TaskRevokedError):
        await waiting


def test_tuples_describe_results_and_their_parents(app: Store) -> None:
    result = app.AsyncResult("b", parent=app.AsyncResult("a"))

    assert result.as_tuple() == (("b", (("a", None), None)), None)
    assert result.as_list() == ["b", "a"]
    again = result_from_tuple(result.as_tuple(), app)
    assert again == result
    assert again.parent == app.AsyncResult("a")
    assert result_from_tuple([["b", None], None]) == result
    assert result_from_tuple(result) is result
    assert result_from_tuple(("b", None), app).as_tuple() == (("b", None), None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", [None, 5, "text", (), ("a",), (("a", None), "b"), {}])
def test_what_describes_no_result_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="cannot make a result"):
        result_from_tuple(wrong)


def test_results_are_equal_by_id(app: Store) -> None:
    one, two = app.AsyncResult("a"), AsyncResult("a")

    assert one == two == "a"
    assert one != app.AsyncResult("b")
    assert one != 5
    assert len({one, two}) == 1
    assert str(one) == "a"
    assert repr(one) == "<AsyncResult: a>"


def test_results_can_be_copied_and_pickled(app: Store) -> None:
    app.set_current()
    app.succeed("b", 5)
    result = app.AsyncResult("b", parent=app.AsyncResult("a"), task_name="add")

    for again in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert again == result
        assert again.parent == result.parent
        assert again.name == "add"
        assert again.get(timeout=60, follow_parents=False) == 5


@pytest.mark.parametrize("wrong", ["", None])
def test_an_id_is_needed(wrong: Any) -> None:
    with pytest.raises(ValueError, match="requires valid id"):
        AsyncResult(wrong)


def test_without_a_backend_everyone_is_told_why_there_is_no_result() -> None:
    with Umbel("none", broker="memory://none", backend="disabled", set_as_current=False) as app:
        result = app.AsyncResult("a")
        for ask in (
            lambda: result.get(timeout=60),
            lambda: result.state,
            result.ready,
            result.exists,
        ):
            with pytest.raises(NotImplementedError, match="no result backend is configured"):
                ask()
        result.forget()


@pytest.mark.parametrize("backend", [None, "", "disabled", "disabled://"])
def test_a_backend_can_be_disabled(backend: Any) -> None:
    app = Umbel("none", broker="memory://none", set_as_current=False)
    app.conf.result_backend = backend
    assert app.backend_url == "disabled://"


def test_a_content_type_that_is_not_accepted_is_not_read(app: Store) -> None:
    app.conf.result_serializer = "pickle"
    app.succeed("a", {1})
    app.conf.result_serializer = "json"
    app.conf.result_accept_content = ["json"]

    with pytest.raises(Exception, match=r"(?i)pickle|serialize"):
        app.AsyncResult("a").get(timeout=60)


def test_a_class_without_an_app_looks_through_the_current_one(app: Store) -> None:
    app.set_current()
    app.succeed("a", 5)

    assert AsyncResult("a").get(timeout=60) == 5
    assert AsyncResult[int]("a").state == "SUCCESS"


def test_it_is_a_result() -> None:
    assert issubclass(AsyncResult, ResultBase)
    assert issubclass(EagerResult, AsyncResult)
    assert issubclass(ImproperlyConfigured, Exception)


class TestEagerResult:
    """The result of a task that ran in place."""

    def test_it_has_what_the_task_returned(self) -> None:
        result = EagerResult("a", 5, "SUCCESS", name="add")

        assert result.get() == result.wait() == result.result == result.info == 5
        assert (result.state, result.status, result.name) == ("SUCCESS", "SUCCESS", "add")
        assert result.ready()
        assert result.successful()
        assert result.exists()
        assert repr(result) == "<EagerResult: a>"

    def test_it_raises_what_the_task_raised(self) -> None:
        result = EagerResult("a", LookupError("no"), "FAILURE", "Traceback")

        assert result.traceback == "Traceback"
        with pytest.raises(LookupError):
            result.get()
        with pytest.raises(LookupError):
            result.maybe_throw()
        assert isinstance(result.get(propagate=False), LookupError)

    def test_it_can_be_revoked_too_late(self) -> None:
        result = EagerResult("a", 5, "SUCCESS")
        result.revoke()
        assert result.state == "REVOKED"

    def test_forgetting_it_changes_nothing(self) -> None:
        result = EagerResult("a", 5, "SUCCESS")
        result.forget()
        assert result.get() == 5

    async def test_it_can_be_awaited(self) -> None:
        result = EagerResult("a", 5, "SUCCESS")
        assert await result == await result.aget() == 5
        assert await result.astate() == "SUCCESS"
        await result.aforget()

    def test_it_can_be_copied_and_pickled(self) -> None:
        result = EagerResult("a", 5, "SUCCESS", None, "add")
        for again in (copy.copy(result), pickle.loads(pickle.dumps(result))):
            assert type(again) is EagerResult
            assert (again.id, again.get(), again.state, again.name) == ("a", 5, "SUCCESS", "add")
