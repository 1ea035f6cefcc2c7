"""What a task sends while it runs: its children."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Task
from umbel.model import Delivery, Outcome, Request
from umbel.wire import tasks as wire_tasks
from umbel.wire.results import ResultMeta

from .conftest import MakeApp, Shop, read


class Bench:
    """Runs what an app has sent, as a worker's pool would."""

    def __init__(self, app: Shop) -> None:
        self.app = app
        self.runner = app.make_runner("worker@here")

    def request(self, index: int = 0) -> Request:
        delivery = Delivery(tag=1, queue="celery", message=self.app.sent[index])
        return wire_tasks.decode(delivery, key=1, accept=self.app.accept, limit=1 << 20)

    def run(self, index: int = 0) -> Outcome:
        self.app.finalize()
        return self.runner.run(self.request(index))

    def meta(self, index: int = 0) -> ResultMeta:
        record = getattr(self.run(index), "record")  # noqa: B009 - some outcomes have none
        return self.app.codec.read(record)


@pytest.fixture
def bench(app: Shop) -> Iterator[Bench]:
    made = Bench(app)
    yield made
    made.runner.close()


@pytest.fixture
def child(app: Shop) -> Task[..., None]:
    made: Task[..., None] = app.task(name="child")(lambda *args: None)
    return made


def test_a_child_names_its_parent_and_their_root(
    app: Shop, bench: Bench, child: Task[..., None]
) -> None:
    parent = app.task(name="parent")(lambda: child.delay().id)
    parent.apply_async(task_id="p", root_id="r")
    meta = bench.meta()

    letter = app.letters[1]
    assert (letter.headers["parent_id"], letter.headers["root_id"]) == ("p", "r")
    assert meta.result == letter.id
    assert meta.children == [[[letter.id, None], None]]


def test_every_way_to_send_makes_a_child(app: Shop, bench: Bench, child: Task[..., None]) -> None:
    def send() -> None:
        child.delay()
        child.apply_async(countdown=1)
        child.apply_many([(), ()])
        child.s().delay()
        app.send_task("elsewhere")
        app.send_many([child.s()])

    app.task(name="parent")(send).apply_async(task_id="p")
    meta = bench.meta()

    children = app.letters[1:]
    assert len(children) == 7
    assert {letter.headers["parent_id"] for letter in children} == {"p"}
    assert {letter.headers["root_id"] for letter in children} == {"p"}
    assert meta.children == [[[letter.id, None], None] for letter in children]


def test_the_async_ways_make_children_too(app: Shop, bench: Bench, child: Task[..., None]) -> None:
    async def send() -> None:
        await child.adelay()
        await child.aapply_many([(), ()])
        await app.asend_task("elsewhere")
        await app.asend_many([child.s()])
        await app.aclose()

    app.task(name="parent")(send).apply_async(task_id="p")
    meta = bench.meta()

    assert {letter.headers["parent_id"] for letter in app.letters[1:]} == {"p"}
    assert meta.children == [[[letter.id, None], None] for letter in app.letters[1:]]


def test_a_task_without_trail_or_a_call_that_says_so_keeps_no_children(
    app: Shop, bench: Bench, child: Task[..., None]
) -> None:
    app.task(name="quiet", trail=False)(lambda: child.delay().id).delay()
    app.task(name="once")(lambda: child.apply_async(add_to_parent=False).id).delay()

    assert bench.meta(0).children in ([], None)
    assert bench.meta(1).children in ([], None)


def test_a_task_called_directly_inside_another_sends_as_the_other(
    app: Shop, bench: Bench, child: Task[..., None]
) -> None:
    middle = app.task(name="middle")(lambda: child.delay().id)
    app.task(name="outer")(lambda: middle()).apply_async(task_id="p")
    bench.run()

    assert app.letters[1].headers["parent_id"] == "p"


def test_a_given_parent_and_root_win(app: Shop, bench: Bench, child: Task[..., None]) -> None:
    app.task(name="parent")(lambda: child.apply_async(parent_id="x", root_id="y").id).delay()
    bench.run()

    headers = app.letters[1].headers
    assert (headers["parent_id"], headers["root_id"]) == ("x", "y")


def test_what_is_sent_outside_of_tasks_has_no_parent(
    app: Shop, bench: Bench, child: Task[..., None]
) -> None:
    app.task(name="parent")(lambda: None).delay()
    bench.run()
    child.delay()

    assert app.letters[1].headers["parent_id"] is None
    assert app.letters[1].headers["root_id"] == app.letters[1].id


@pytest.mark.parametrize(("inherit", "priority"), [(True, 7), (False, None)])
def test_a_parents_priority_is_inherited_where_it_is_asked_for(
    app: Shop, bench: Bench, child: Task[..., None], inherit: bool, priority: int | None
) -> None:
    app.conf.task_inherit_parent_priority = inherit
    app.task(name="parent")(lambda: child.delay().id).apply_async(priority=7)
    bench.run()

    assert app.sent[1].priority == priority


def test_callbacks_follow_with_the_tasks_options_and_links(app: Shop, bench: Bench) -> None:
    other = app.task(name="other", queue="others", serializer="pickle")(lambda x, y: None)
    app.task(name="first")(lambda: 5).apply_async(task_id="p", link=other.s(6).set(task_id="c"))
    outcome: Any = bench.run()

    [message] = outcome.follow_ups
    letter = read(message)
    assert letter.id == "c"
    assert letter.body.args == [5, 6]
    assert message.routing_key == "others"
    assert message.content_type == "application/x-python-serialize"
    assert (letter.headers["parent_id"], letter.headers["root_id"]) == ("p", "p")


def test_the_current_task_is_the_one_that_runs(make_app: MakeApp) -> None:
    from umbel import current_task

    app = make_app(set_as_current=True)
    seen: list[Any] = []

    @app.task(name="seen")
    def see() -> None:
        seen.append((current_task.name, current_task.request.id, app.current_task.name))
        seen.append(app.current_worker_task)

    see.apply_async(task_id="p")
    Bench(app).run()
    see()

    assert seen == [("seen", "p", "seen"), see, ("seen", None, "seen"), None]
    assert not current_task
    assert app.current_task is None
    assert app.current_worker_task is None


def test_a_retry_to_another_queue_goes_where_the_configuration_says(make_app: MakeApp) -> None:
    from umbel import Exchange, Queue

    queues = [Queue("celery"), Queue("logs", Exchange("l", "topic"), "log.error")]
    app = make_app(task_queues=queues, task_create_missing_queues=False)

    @app.task(bind=True, name="again")
    def again(self: Any, queue: str) -> None:
        raise self.retry(queue=queue, countdown=0)

    again.delay("logs")
    again.delay("typo")
    retried: Any = Bench(app).run(0)
    refused: Any = Bench(app).run(1)

    assert (retried.message.exchange, retried.message.routing_key) == ("l", "log.error")
    assert "'typo'" in refused.reason


def test_a_retry_stays_where_it_came_from_by_default(app: Shop, bench: Bench) -> None:
    @app.task(bind=True, name="again")
    def again(self: Any) -> None:
        raise self.retry(countdown=0)

    again.apply_async(queue="slow")
    retried: Any = bench.run()

    assert retried.message.routing_key == "slow"


def test_the_worker_forbids_waiting_inside_tasks(
    app: Shop, bench: Bench, child: Task[..., None]
) -> None:
    app.task(name="waits")(lambda: child.delay().get(timeout=1)).delay()
    meta = bench.meta()

    assert meta.status == "FAILURE"
    assert isinstance(meta.result, RuntimeError)
    assert "within a task" in str(meta.result)
