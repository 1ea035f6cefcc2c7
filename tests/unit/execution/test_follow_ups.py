"""What a run publishes beside its result: callbacks, the next link, error callbacks."""

from __future__ import annotations

from typing import Any

from umbel.execution import failures
from umbel.model import Failed


def sig(task: str, *args: Any, **fields: Any) -> dict[str, Any]:
    return {"task": task, "args": list(args), "kwargs": {}, "options": {}, **fields}


def test_callbacks_and_the_next_link_get_the_value(bench: Any) -> None:
    bench.task(lambda self: 5)
    step, last = sig("tasks.step", 1), sig("tasks.last")

    outcome = bench.run(
        root_id="root",
        callbacks=[sig("tasks.seen", 9), sig("tasks.fixed", 9, immutable=True)],
        chain=[last, step],
    )

    assert [bench.called(message) for message in outcome.follow_ups] == [
        ("tasks.seen", [5, 9], {}),
        ("tasks.fixed", [9], {}),
        ("tasks.step", [5, 1], {}),
    ]
    assert bench.body(outcome.follow_ups[2]).chain == [last]
    for message in outcome.follow_ups:
        headers = bench.headers(message)
        assert (headers["root_id"], headers["parent_id"]) == ("root", "id-1")


def test_what_follows_is_a_child_of_the_result(bench: Any) -> None:
    bench.task(lambda self: 5)

    outcome = bench.run(callbacks=[sig("tasks.seen")], chain=[sig("tasks.last")])

    seen, last = outcome.follow_ups
    assert bench.read(outcome.record).children == [[[seen.id, None], None], [[last.id, None], None]]


def test_what_cannot_be_started_fails_the_task_and_says_so(bench: Any) -> None:
    bench.task(lambda self: 5)

    group = {**sig("celery.group", subtask_type="group"), "kwargs": {"tasks": [3]}}
    outcome = bench.run(chain=[group])

    assert type(outcome) is Failed
    assert "3 is not a signature" in str(bench.read(outcome.record).result)


def fail(self: Any) -> None:
    raise ValueError("x")


def test_error_callbacks_are_published_with_the_id(bench: Any) -> None:
    bench.task(fail)
    bench.task(lambda self, failed_id: None, name="tasks.one")

    outcome = bench.run(errbacks=[sig("tasks.unknown", 1), sig("tasks.one")])

    assert [bench.called(message) for message in outcome.follow_ups] == [
        ("tasks.unknown", ["id-1", 1], {}),
        ("tasks.one", ["id-1"], {}),
    ]
    assert bench.headers(outcome.follow_ups[0])["parent_id"] == "id-1"


def test_error_callbacks_that_take_more_are_called_here(bench: Any) -> None:
    told: list[Any] = []
    bench.task(fail)

    def three(self: Any, request: Any, exc: BaseException, traceback: str) -> None:
        told.append((request.id, repr(exc), traceback[:9], self.request.called_directly))

    bench.task(three, name="tasks.three")
    bench.task(lambda self, *args: told.append(len(args)), name="tasks.any")

    outcome = bench.run(errbacks=[sig("tasks.three"), sig("tasks.any", 1)])

    assert told == [("id-1", "ValueError('x')", "Traceback", True), 4]
    assert outcome.follow_ups == ()


def test_an_error_callback_that_raises_is_reported_and_the_others_run(
    bench: Any, caplog: Any
) -> None:
    told: list[int] = []
    bench.task(fail)
    bench.task(lambda self, *args: 1 / 0, name="tasks.bad")
    bench.task(lambda self, *args: told.append(1), name="tasks.good")

    outcome = bench.run(errbacks=[sig("tasks.bad"), sig("tasks.good")])

    assert type(outcome) is Failed
    assert told == [1]
    assert "INTERNAL ERROR: ZeroDivisionError" in caplog.text


def test_error_callbacks_that_cannot_be_sent_leave_the_failure_as_it_is(
    bench: Any, caplog: Any
) -> None:
    bench.task(fail)

    group = {**sig("celery.group", subtask_type="group"), "kwargs": {"tasks": [3]}}
    outcome = bench.run(errbacks=[group])

    assert repr(bench.read(outcome.record).result) == "ValueError('x')"
    assert "INTERNAL ERROR: InvalidTaskError" in caplog.text


def test_whoever_waits_for_the_end_of_a_broken_chain_learns_it(bench: Any) -> None:
    bench.task(fail)
    last = sig("tasks.last", options={"task_id": "id-3", "group_id": "g"})
    step = sig("tasks.step", options={"task_id": "id-2"})

    outcome = bench.run(chain=[last, sig("tasks.unnamed"), step])

    metas = [bench.read(record) for record in outcome.tail]
    assert [(meta.task_id, meta.status) for meta in metas] == [
        ("id-2", "FAILURE"),
        ("id-3", "FAILURE"),
    ]
    assert repr(metas[1].result) == "ValueError('x')"
    assert metas[1].group_id == "g"


def test_what_a_worker_says_of_a_task_that_cannot_speak(bench: Any) -> None:
    request, codec = bench.request(parent_id="p"), bench.codec

    records = [
        failures.lost(request, "signal 9 (SIGKILL)", codec),
        failures.timed_out(request, 3, codec),
        failures.unregistered(request, codec),
        failures.expired(request, codec),
        failures.terminated(request, codec),
        failures.revoked(request, "revoked", codec),
    ]

    metas = [bench.read(record) for record in records]
    assert [(meta.status, type(meta.result).__name__, meta.result.args) for meta in metas] == [
        ("FAILURE", "WorkerLostError", ("Worker exited prematurely: signal 9 (SIGKILL).",)),
        ("FAILURE", "TimeLimitExceeded", (3,)),
        ("FAILURE", "NotRegistered", ("tasks.it",)),
        ("REVOKED", "TaskRevokedError", ("expired",)),
        ("REVOKED", "TaskRevokedError", ("terminated",)),
        ("REVOKED", "TaskRevokedError", ("revoked",)),
    ]
    assert {meta.parent_id for meta in metas} == {"p"}


def test_extended_results_say_what_was_called_where(bench: Any) -> None:
    from umbel.wire.results import ResultCodec

    bench.task(lambda self, x, y: x + y)
    codec = ResultCodec(extended=True, clock=bench.clock)

    outcome = bench.with_tools(codec=codec).run(bench.request(1, kwargs={"y": 2}, retries=1))

    meta = codec.read(outcome.record)
    assert (meta.name, meta.args, meta.kwargs) == ("tasks.it", [1], {"y": 2})
    assert (meta.worker, meta.retries, meta.queue) == ("celery@here", 1, "celery")
