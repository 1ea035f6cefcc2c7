"""What running one request comes to."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import Ignore, Reject, SoftTimeLimitExceeded, WorkerShutdown
from umbel.execution import context
from umbel.model import Failed, Ignored, Rejected, Succeeded
from umbel.pools.interrupts import NoInterrupts
from umbel.protocols import Runner
from umbel.result import AsyncResult, GroupResult, result_from_tuple
from umbel.signals import task_prerun
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call


def test_a_value_becomes_a_record(bench: Any) -> None:
    bench.task(lambda self, x, y: x + y)

    outcome = bench.run(2, 2)

    assert type(outcome) is Succeeded
    assert outcome.key == 7
    assert bench.read(outcome.record).result == 4
    assert outcome.follow_ups == ()


def test_a_task_may_return_results_of_others(bench: Any) -> None:
    app = Umbel("results", broker="memory://returned", set_as_current=False)
    one = AsyncResult[Any]("a", app=app)
    bench.task(lambda self, x: GroupResult("g", [one]) if x else one)

    assert bench.read(bench.run(0).record).result == [["a", None], None]
    kept = bench.read(bench.run(1).record).result
    assert kept == [["g", None], [[["a", None], None]]]
    assert result_from_tuple(kept, app) == GroupResult("g", [one])


def test_a_task_runner_is_a_runner(bench: Any) -> None:
    runner: Runner = bench.runner

    runner.open(NoInterrupts())
    runner.close()


def test_an_ignored_result_leaves_no_record(bench: Any) -> None:
    bench.task(lambda self: 1, ignore_result=True)

    outcome = bench.runner.run(
        bench.garbled(bench.request(), headers=b'{"task":"tasks.it","id":"id-1"}')
    )

    assert type(outcome) is Succeeded


def test_the_caller_decides_over_the_task_about_ignoring_the_result(bench: Any) -> None:
    bench.task(lambda self: 1)

    assert bench.run(ignore_result=True).record is None
    assert bench.run(ignore_result=False).record is not None


def test_an_exception_becomes_a_failure_with_its_traceback(bench: Any) -> None:
    def fail(self: Any) -> None:
        raise ValueError("no", 3)

    bench.task(fail)

    outcome = bench.run()

    meta = bench.read(outcome.record)
    assert type(outcome) is Failed
    assert outcome.cause == "raised"
    assert meta.status == "FAILURE"
    assert type(meta.result) is ValueError
    assert meta.result.args == ("no", 3)
    assert meta.traceback.startswith("Traceback (most recent call last):\n")
    assert "in fail\n" in meta.traceback
    assert "umbel/execution/execute.py" not in meta.traceback


def test_an_error_is_recorded_despite_an_ignored_result_only_when_asked_for(bench: Any) -> None:
    def fail(self: Any) -> None:
        raise ValueError

    bench.task(fail)
    bench.task(fail, name="tasks.kept", store_errors_even_if_ignored=True)

    assert bench.run(ignore_result=True).record is None
    assert bench.run(ignore_result=True, task="tasks.kept").record.state == "FAILURE"


class _Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class _Odd(BaseException):
    pass


def _recurse() -> None:
    _recurse()


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (WorkerShutdown(0), "WorkerShutdown"),
        (MemoryError(), "MemoryError"),
        (SoftTimeLimitExceeded(), "SoftTimeLimitExceeded"),
        (asyncio.CancelledError(), "CancelledError"),
        (_Unshowable(object()), "_Unshowable"),
        (_Odd("odd"), "_Odd"),
        (ValueError(object(), threading.Lock()), "ValueError"),
        (ExceptionGroup("several", [ValueError(1), KeyError(2)]), "ExceptionGroup"),
    ],
)
def test_whatever_is_raised_is_a_failure_and_never_escapes(
    bench: Any, error: BaseException, name: str
) -> None:
    def fail(self: Any) -> None:
        raise error

    bench.task(fail)

    outcome = bench.run()

    assert type(outcome) is Failed
    assert f'"exc_type":"{name}"'.encode() in outcome.record.body.replace(b'": "', b'":"')


def test_endless_recursion_is_a_failure(bench: Any) -> None:
    def fail(self: Any) -> None:
        _recurse()

    bench.task(fail)

    assert type(bench.read(bench.run().record).result) is RecursionError


def test_wrong_arguments_are_an_ordinary_failure(bench: Any) -> None:
    def one(self: Any, x: int) -> int:
        return x

    bench.task(one)

    outcome = bench.run(1, 2, 3)

    assert type(outcome) is Failed
    assert type(bench.read(outcome.record).result) is TypeError


def test_a_result_that_cannot_be_encoded_is_a_failure_that_says_where(bench: Any) -> None:
    bench.task(lambda self: {"deep": [1, object()]})

    outcome = bench.run()

    error = bench.read(outcome.record).result
    assert type(outcome) is Failed
    assert type(error).__name__ == "EncodeError"
    assert "['deep'][1]" in str(error)


def test_ignore_leaves_no_trace(bench: Any) -> None:
    def ignore(self: Any) -> None:
        raise Ignore

    bench.task(ignore)

    assert type(bench.run()) is Ignored


@pytest.mark.parametrize("requeue", [True, False])
def test_reject_drops_the_message_or_gives_it_back(bench: Any, requeue: bool) -> None:
    def reject(self: Any) -> None:
        raise Reject("unwell", requeue=requeue)

    bench.task(reject)

    outcome = bench.run()

    assert type(outcome) is Rejected
    assert outcome.requeue is requeue
    assert "unwell" in outcome.reason
    assert (outcome.record is None) is requeue


def test_a_refused_content_type_is_dropped_and_the_reason_is_kept(bench: Any, caplog: Any) -> None:
    bench.task(lambda self: 1)
    request = bench.garbled(bench.request(), content_type="application/x-python-serialize")

    outcome = bench.runner.run(request)

    assert type(outcome) is Rejected
    assert not outcome.requeue
    assert outcome.record.state == "FAILURE"
    assert outcome.reason.startswith("ContentDisallowed: ")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[1,2,3]", b"[[],{},4]", b"\xff\xfe", b"null"])
def test_an_unreadable_body_is_dropped_and_the_reason_is_kept(
    bench: Any, caplog: Any, body: bytes
) -> None:
    bench.task(lambda self: 1)

    outcome = bench.runner.run(bench.garbled(bench.request(), body=body))

    assert type(outcome) is Rejected
    assert outcome.record.state == "FAILURE"
    assert len(caplog.records) == 1


def test_a_task_unknown_in_the_child_is_a_failure(bench: Any) -> None:
    outcome = bench.run(task="tasks.nobody")

    assert type(outcome) is Failed
    assert repr(bench.read(outcome.record).result).startswith("Task of kind 'tasks.nobody'")


def test_coroutines_run_on_a_loop_of_the_thread(bench: Any) -> None:
    loops = []

    async def add(self: Any, x: int, y: int) -> int:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return x + y

    bench.task(add)

    values = [bench.read(bench.run(n, 1).record).result for n in range(3)]
    thread = threading.Thread(target=bench.run, args=(1, 1))
    thread.start()
    thread.join()

    assert values == [1, 2, 3]
    assert loops[0] is loops[1] is loops[2]
    assert loops[3] is not loops[0]
    bench.runner.close()
    assert all(loop.is_closed() for loop in loops)


def _overrun(*_: object) -> None:
    raise SoftTimeLimitExceeded(1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no such signals here")
def test_a_soft_time_limit_that_hits_the_waiting_loop_reaches_the_coroutine(bench: Any) -> None:
    async def patient(self: Any) -> str:
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)
        return "cleaned up"

    bench.task(patient)
    before = signal.signal(signal.SIGALRM, _overrun)
    signal.setitimer(signal.ITIMER_REAL, 0.01)

    outcome = bench.run()

    signal.signal(signal.SIGALRM, before)
    bench.runner.close()
    assert bench.read(outcome.record).result == "cleaned up"


async def test_arun_awaits_on_the_running_loop(bench: Any) -> None:
    async def where(self: Any) -> bool:
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is home

    home = asyncio.get_running_loop()
    bench.task(where)

    outcome = await bench.arun()

    assert bench.read(outcome.record).result is True
    assert bench.runner.is_async(bench.request())


async def test_arun_runs_plain_functions_too(bench: Any) -> None:
    bench.task(lambda self, x: x)

    assert bench.read((await bench.arun(3)).record).result == 3
    assert not bench.runner.is_async(bench.request())


async def test_cancelling_the_asyncio_task_is_left_to_whoever_cancelled(bench: Any) -> None:
    started = asyncio.Event()

    async def wait(self: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    bench.task(wait)
    running = asyncio.create_task(bench.arun())
    await started.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert context.current() is None


async def test_a_task_that_cancels_itself_has_failed(bench: Any) -> None:
    async def give_up(self: Any) -> None:
        raise asyncio.CancelledError

    bench.task(give_up)

    assert type(await bench.arun()) is Failed


def test_track_started_says_who_has_the_task(bench: Any) -> None:
    seen: list[int] = []
    bench.task(lambda self: seen.append(len(bench.stored)), track_started=True)

    bench.run()

    [started] = bench.stored
    assert seen == [1]
    assert started.state == "STARTED"
    assert bench.read(started).result["hostname"] == "celery@here"


def test_the_stack_is_empty_afterwards(bench: Any) -> None:
    def fail(self: Any) -> None:
        raise ValueError

    bench.task(fail)

    bench.run()

    assert context.current() is None
    assert context.current_task() is None


def test_children_are_part_of_the_result(bench: Any) -> None:
    def spawn(self: Any) -> None:
        context.current().add_child([["child-1", None], None])
        self.request.children.append([["child-2", None], None])

    bench.task(spawn)

    meta = bench.read(bench.run().record)

    assert meta.children == [[["child-1", None], None], [["child-2", None], None]]


def test_tasks_that_nobody_listens_to_cost_few_calls(bench: Any) -> None:
    bench.task(lambda self, x, y: x + y)
    request = bench.request(2, 2)
    bench.runner.run(request)
    calls = 0

    def count(frame: object, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    bench.runner.run(request)
    sys.setprofile(None)

    assert not task_prerun.receivers
    assert calls <= 35


def test_messages_of_protocol_1_run_too(bench: Any) -> None:
    bench.task(lambda self, x: x)
    request = bench.understand(
        wire_tasks.encode(Call(task="tasks.it", id="id-1", args=(5,), protocol=1))
    )

    assert bench.read(bench.runner.run(request).record).result == 5
