"""Tasks that run here and now, as a worker would run them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from umbel.exceptions import EncodeError, Ignore, Reject, Retry
from umbel.execution import eager
from umbel.wire.call import Call


def apply(bench: Any, job: Any, *args: Any, throw: bool = False, **options: Any) -> Any:
    serialize = options.pop("serialize", False)
    call = Call(task=job.name, id="id-1", args=args, **options)
    return eager.apply(job, call, bench.tools, throw=throw, serialize=serialize)


def raise_(error: BaseException) -> Any:
    raise error


def test_a_value_comes_back_as_it_is(bench: Any) -> None:
    value = object()
    job = bench.task(lambda self, x: x)

    assert apply(bench, job, value) == ("SUCCESS", value, None)
    assert bench.stored == []


def test_through_the_serializer_a_task_sees_what_a_worker_would(bench: Any) -> None:
    job = bench.task(lambda self, x: x)

    assert apply(bench, job, (1, 2), serialize=True) == ("SUCCESS", [1, 2], None)
    with pytest.raises(EncodeError):
        apply(bench, job, object(), serialize=True)


def test_the_request_says_that_it_is_eager(bench: Any) -> None:
    job = bench.task(
        lambda self: (self.request.is_eager, self.request.called_directly, self.request.tenant)
    )

    assert apply(bench, job, headers={"tenant": "a"})[1] == (True, False, "a")
    infos: list[Any] = []
    apply(bench, bench.task(lambda self: infos.append(self.request.delivery_info)))
    assert infos == [{"is_eager": True, "exchange": "", "routing_key": "celery", "priority": None}]


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError("x"), "FAILURE"), (Ignore(), "IGNORED"), (Reject(), "REJECTED")],
)
def test_an_exception_comes_back_with_its_traceback(
    bench: Any, error: Exception, state: str
) -> None:
    job = bench.task(lambda self: raise_(error))

    found, value, traceback = apply(bench, job)

    assert (found, value) == (state, error)
    assert traceback.startswith("Traceback")


def test_what_the_task_raises_is_raised_when_asked_for(bench: Any) -> None:
    job = bench.task(lambda self: raise_(ValueError("x")))
    again = bench.task(lambda self: raise_(self.retry()))

    with pytest.raises(ValueError, match="x"):
        apply(bench, job, throw=True)
    with pytest.raises(Retry):
        apply(bench, again, throw=True)


def test_retries_happen_at_once(bench: Any) -> None:
    tries: list[Any] = []

    def stubborn(self: Any, x: int) -> str:
        tries.append((self.request.retries, x))
        if len(tries) < 3:
            raise self.retry(args=(x + 1,), countdown=60)
        return "done"

    assert apply(bench, bench.task(stubborn), 0) == ("SUCCESS", "done", None)
    assert tries == [(0, 0), (1, 1), (2, 2)]


def test_retries_end(bench: Any) -> None:
    job = bench.task(lambda self: raise_(self.retry(exc=KeyError("y"))), max_retries=2)
    by_hand = bench.task(lambda self: raise_(Retry(when=1)) if not self.request.retries else 1)

    assert apply(bench, job)[:1] == ("FAILURE",)
    assert apply(bench, by_hand)[1] == 1


def test_nothing_is_stored_unless_asked_for(bench: Any) -> None:
    apply(bench, bench.task(lambda self: 1, store_eager_result=True))
    apply(bench, bench.task(lambda self: raise_(ValueError()), store_eager_result=True))
    apply(bench, bench.task(lambda self: raise_(ValueError()), track_started=True))

    assert [record.state for record in bench.stored] == ["SUCCESS", "FAILURE"]


def test_what_follows_is_called_at_once(bench: Any) -> None:
    def sig(task: str) -> dict[str, Any]:
        return {"task": task, "args": [1], "kwargs": {}, "options": {}}

    apply(
        bench,
        bench.task(lambda self: 5),
        callbacks=[sig("tasks.link")],
        chain=[sig("tasks.last"), sig("tasks.next")],
    )

    assert bench.followed == [
        ("tasks.link", (5,), []),
        ("tasks.next", (5,), ["tasks.last"]),
    ]
    assert bench.published == []


async def test_a_coroutine_runs_inside_a_running_loop_too(bench: Any) -> None:
    async def where(self: Any) -> Any:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), self.request.id

    loop, task_id = apply(bench, bench.task(where))[1]

    assert loop is not asyncio.get_running_loop()
    assert loop.is_closed()
    assert task_id == "id-1"


def test_a_coroutine_leaves_the_threads_event_loop_alone(bench: Any) -> None:
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)

    async def nothing(self: Any) -> None: ...

    apply(bench, bench.task(nothing))

    assert asyncio.get_event_loop() is mine
    asyncio.set_event_loop(None)
    mine.close()
