"""What others put around the run of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel.execution import tracing
from umbel.model import Failed, Retried, Succeeded


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Puts a function around every run: called with what runs it, and with what that is given."""

    def put(wrapper: Callable[..., Any]) -> None:
        below = tracing.build_tracer

        def build(name: str, task: Any, *args: Any, **kwargs: Any) -> tracing.Tracer:
            tracer = below(name, task, *args, **kwargs)
            return lambda *given: wrapper(tracer, *given)

        monkeypatch.setattr(tracing, "build_tracer", build)

    return put


def test_every_run_goes_through_what_replaces_build_tracer(bench: Any, around: Any) -> None:
    seen: list[Any] = []

    def watch(run: Any, uuid: str, args: Any, kwargs: Any, request: Any) -> Any:
        ended = run(uuid, args, kwargs, request)
        seen.append((uuid, list(args), request["task"], request["retries"], ended.retval))
        return ended

    around(watch)
    around(watch)
    bench.task(lambda self, x: x + 1)

    assert type(bench.run(1)) is Succeeded
    assert type(bench.run(2)) is Succeeded

    assert seen == [
        ("id-1", [1], "tasks.it", 0, 2),
        ("id-1", [1], "tasks.it", 0, 2),
        ("id-1", [2], "tasks.it", 0, 3),
        ("id-1", [2], "tasks.it", 0, 3),
    ]


def test_a_watcher_hears_how_a_task_has_failed_and_is_to_be_tried_again(
    bench: Any, around: Any
) -> None:
    seen: list[Any] = []

    def watch(run: Any, *given: Any) -> None:
        seen.append(run(*given).info.exception)

    def hesitate(self: Any, fails: bool) -> None:
        raise KeyError("no") if fails else self.retry()

    around(watch)
    bench.task(hesitate)

    assert type(bench.run(True)) is Failed
    assert type(bench.run(False)) is Retried
    assert [type(error).__name__ for error in seen] == ["KeyError", "Retry"]


def test_a_watcher_that_fails_before_the_task_runs_fails_it(bench: Any, around: Any) -> None:
    def refuse(*_: Any) -> None:
        raise LookupError("no scope")

    around(refuse)
    bench.task(lambda self: 1)

    outcome = bench.run()

    assert type(outcome) is Failed
    assert repr(bench.read(outcome.record).result) == "LookupError('no scope')"


def test_a_watcher_that_runs_nothing_fails_the_task(bench: Any, around: Any) -> None:
    around(lambda *_: None)
    bench.task(lambda self: 1)

    assert "has not run task tasks.it" in str(bench.read(bench.run().record).result)


def test_a_watcher_that_fails_afterwards_changes_nothing(
    bench: Any, around: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(run: Any, *given: Any) -> None:
        run(*given)
        raise LookupError("afterwards")

    around(stumble)
    bench.task(lambda self: 1)

    assert type(bench.run()) is Succeeded
    assert "What surrounds task tasks.it has failed" in caplog.text


def test_what_wraps_the_function_of_a_coroutine_sees_what_it_raises(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    below = tracing.build_tracer

    def build(name: str, task: Any, **options: Any) -> tracing.Tracer:
        function = task.run

        def run() -> Any:
            try:
                return function()
            except LookupError as error:
                seen.append(error)
                raise

        task.run = run
        return below(name, task, **options)

    async def fail(self: Any) -> None:
        raise LookupError("later")

    monkeypatch.setattr(tracing, "build_tracer", build)
    bench.task(fail)

    assert type(bench.run()) is Failed
    assert [str(error) for error in seen] == ["later"]
    bench.runner.close()


def test_a_tracer_that_no_worker_calls_runs_the_task() -> None:
    class Applied:
        result, successful = 3, staticmethod(lambda: True)

    class Sum:
        def apply(self, args: Any, kwargs: Any, **options: Any) -> Any:
            assert (args, kwargs, options["task_id"]) == ((1, 2), {}, "an-id")
            return Applied()

    assert tracing.build_tracer("sum", Sum())("an-id", (1, 2), {}).retval == 3


def test_headers_that_are_sent_below_headers_once_more_are_the_callers(bench: Any) -> None:
    seen: list[Any] = []

    def look(self: Any) -> None:
        seen.append(self.request.headers)
        raise self.retry()

    bench.task(look)
    request = bench.request(headers={"trace": "1", "headers": {"trace": "1", "tenant": "a"}})
    outcome = bench.runner.run(request)

    assert seen == [{"trace": "1", "tenant": "a"}]
    assert bench.headers(outcome.message)["headers"] == {"trace": "1", "tenant": "a"}
    assert bench.headers(outcome.message)["trace"] == "1"
