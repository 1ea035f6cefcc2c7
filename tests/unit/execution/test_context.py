"""What a task may know of its own call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import celery.app.task
import pytest

from umbel.execution import context
from umbel.execution.context import Context
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call

FIELDS = [
    *("args", "callbacks", "called_directly", "chain", "chord", "correlation_id"),
    *("delivery_info", "errbacks", "eta", "expires", "group", "group_index", "headers"),
    *("hostname", "id", "ignore_result", "is_eager", "kwargs", "logfile", "loglevel", "origin"),
    *("parent_id", "properties", "retries", "reply_to", "replaced_task_nesting", "root_id"),
    *("shadow", "taskset", "timelimit", "time_limit", "soft_time_limit", "utc"),
    *("stamped_headers", "stamps", "children"),
]


def seen(bench: Any, *args: Any, **call: Any) -> Context:
    contexts: list[Context] = []
    bench.task(lambda self, *_, **__: contexts.append(self.request))
    bench.run(*args, **call)
    return contexts[0]


def test_an_empty_request_has_celerys_defaults() -> None:
    ours, theirs = Context(), celery.app.task.Context()

    for name in FIELDS:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.as_execution_options() == theirs.as_execution_options()


def test_a_request_that_was_filled_by_hand_behaves_as_celerys(bench: Any) -> None:
    fields: dict[str, Any] = {
        "id": "1",
        "timelimit": [3, 2],
        "tenant": "a",
        "retries": 2,
        "headers": {"tenant": "a", "x-death": 1, "x-first-death-queue": 2},
        "stamped_headers": ["s"],
        "stamps": {"s": 1},
        "callbacks": [{"task": "t"}],
    }
    ours, theirs = Context(fields, shadow="x"), celery.app.task.Context(fields, shadow="x")

    for request in (ours, theirs):
        request.update(group="g")
    assert vars(ours) == vars(theirs)
    assert (ours.time_limit, ours.soft_time_limit) == (3, 2)
    assert ours.get("nothing", 5) == 5
    assert ours.as_execution_options() == theirs.as_execution_options()
    assert Context({"tenant": "a"}).headers == celery.app.task.Context({"tenant": "a"}).headers
    ours.clear()
    assert ours.id is None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ours.nothing


def test_a_task_sees_every_field_of_its_message(bench: Any) -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    link = {"task": "tasks.link", "args": [], "kwargs": {}, "options": {}}

    request = seen(
        bench,
        1,
        kwargs={"y": 2},
        root_id="root",
        parent_id="parent",
        group_id="group",
        group_index=2,
        retries=1,
        time_limit=9.0,
        soft_time_limit=8.0,
        shadow="shade",
        origin="gen1@far",
        callbacks=[link],
        errbacks=[link],
        chain=[link],
        chord=link,
        headers={"tenant": "a"},
        priority=4,
        reply_to="oid",
        expires=expires,
        expires_at=expires.timestamp(),
    )

    expected = {
        "args": [1],
        "kwargs": {"y": 2},
        "id": "id-1",
        "task": "tasks.it",
        "lang": "py",
        "root_id": "root",
        "parent_id": "parent",
        "group": "group",
        "group_index": 2,
        "retries": 1,
        "timelimit": [9.0, 8.0],
        "time_limit": 9.0,
        "soft_time_limit": 8.0,
        "shadow": "shade",
        "origin": "gen1@far",
        "callbacks": [link],
        "errbacks": [link],
        "chain": [link],
        "chord": link,
        "headers": {"tenant": "a"},
        "tenant": "a",
        "reply_to": "oid",
        "correlation_id": "id-1",
        "hostname": "celery@here",
        "called_directly": False,
        "is_eager": False,
        "expires": expires.isoformat(),
        "eta": None,
        "utc": True,
        "argsrepr": "(1,)",
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": 4,
            "redelivered": False,
        },
    }
    assert {name: getattr(request, name) for name in expected} == expected
    assert request.properties is not None
    assert request.properties["reply_to"] == "oid"


def test_a_message_handed_out_again_says_so(bench: Any) -> None:
    flags: list[bool] = []
    bench.task(lambda self: flags.append(self.request.delivery_info["redelivered"]))
    message = wire_tasks.encode(Call(task="tasks.it", id="id-1"))

    bench.runner.run(bench.understand(message, redelivered=True))

    assert flags == [True]


def test_the_request_is_one_object_while_the_task_runs(bench: Any) -> None:
    def note(self: Any) -> Any:
        self.request.mark = 1
        return self.request.mark

    bench.task(note)

    assert bench.read(bench.run().record).result == 1


def test_outside_of_a_task_there_is_no_request(bench: Any) -> None:
    job = bench.task(lambda self: None)

    assert job.request.called_directly
    assert job.request.id is None
    assert context.current() is None


def test_tasks_that_call_each_other_keep_their_own_requests(bench: Any) -> None:
    views: list[tuple[Any, ...]] = []

    def look(self: Any, *_: Any) -> None:
        run = context.current()
        views.append((self.request.id, self.request.called_directly, run and run.request.id))

    inner = bench.task(look, name="tasks.inner")

    def outer(self: Any) -> None:
        inner(5)
        assert context.current_task() is self
        views.append((self.request.id, self.request.called_directly, None))

    bench.task(outer, name="tasks.outer")

    bench.run(task="tasks.outer")
    inner(6)

    assert views == [(None, True, "id-1"), ("id-1", False, None), (None, True, None)]


def test_a_task_that_calls_itself_sees_both_calls(bench: Any) -> None:
    views: list[Any] = []

    def count(self: Any, depth: int) -> None:
        views.append((self.request.id, list(self.request.args)))
        if depth:
            self(depth - 1)

    bench.task(count)

    bench.run(1)

    assert views == [("id-1", [1]), (None, [0])]


def test_an_overridden_call_that_calls_super_keeps_the_workers_request(bench: Any) -> None:
    job = bench.task(lambda self: (self.request.id, self.request.called_directly))

    class Wrapped(type(job)):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["wrapped", *super().__call__(*args, **kwargs)]

    bench.task(job.function, Wrapped)

    assert bench.read(bench.run().record).result == ["wrapped", "id-1", False]


def test_a_request_can_be_pushed_by_hand(bench: Any) -> None:
    job = bench.task(lambda self: None)

    context.push(job, Context(id="by hand"))
    assert job.request.id == "by hand"
    popped = context.pop()

    assert popped is not None
    assert popped.id == "by hand"
    assert job.request.id is None
    assert context.pop() is None


async def test_tasks_on_one_loop_do_not_see_each_other(bench: Any) -> None:
    ids: list[Any] = []

    async def look(self: Any) -> None:
        before = self.request.id
        await asyncio.sleep(0)
        ids.append((before, self.request.id))

    bench.task(look)

    await asyncio.gather(bench.arun(id="a"), bench.arun(id="b"))

    assert ids == [("a", "a"), ("b", "b")]


def test_a_state_of_ones_own_is_stored_at_once(bench: Any) -> None:
    def work(self: Any) -> None:
        context.update_state(self, None, "PROGRESS", {"done": 3})
        context.update_state(self, "other", "PROGRESS", {"done": 4})

    bench.task(work)

    bench.run(parent_id="parent")

    first, second = map(bench.read, bench.stored)
    assert (first.task_id, first.status, first.result) == ("id-1", "PROGRESS", {"done": 3})
    assert (first.parent_id, second.parent_id) == ("parent", None)
    assert (second.task_id, second.result) == ("other", {"done": 4})


def test_a_state_outside_of_a_task_needs_an_id(bench: Any) -> None:
    job = bench.task(lambda self: None)

    context.update_state(job, "other", "PROGRESS", 1, bench.tools)

    assert bench.read(bench.stored[0]).task_id == "other"
    with pytest.raises(RuntimeError, match="needs a running task"):
        context.update_state(job, None, "PROGRESS", 1, bench.tools)
    with pytest.raises(RuntimeError, match="needs a running task"):
        context.update_state(job, "other", "PROGRESS", 1)
