"""``contrib.migrate``: moving tasks that wait, by what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import celery
import pytest

import umbel
from umbel import Exchange, Queue
from umbel.contrib import migrate
from umbel.contrib.migrate import StopFiltering, move, start_filter


def _app(url: str) -> umbel.Celery:
    app = umbel.Celery("moving", broker=url, set_as_current=False)

    @app.task(name="feed.read")
    def read(*args: object, **kwargs: object) -> None: ...

    @app.task(name="mail.send")
    def send(*args: object, **kwargs: object) -> None: ...

    return app


@pytest.fixture(params=["memory", "sqlite", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[umbel.Celery]:
    url = {"memory": "memory://moving", "sqlite": f"sqlite:///{tmp_path / 'q.db'}"}.get(
        request.param
    ) or request.getfixturevalue("redis_for_module")
    app = _app(url)
    yield app
    app.portal.call(_purge, app)
    app.close()


async def _purge(app: umbel.Celery) -> None:
    await (await app.connections.broker()).purge(["celery", "feeds", "other"])


def _waiting(app: umbel.Celery, *queues: str) -> dict[str, list[str]]:
    """The ids of the tasks in each queue, which stay there."""
    found: dict[str, list[str]] = {}
    for queue in queues:
        bodies: list[migrate.Body] = []
        start_filter(
            app,
            None,
            lambda body, _, seen=bodies: seen.append(body),  # type: ignore[misc]
            consume_from=[queue],
            timeout=0.05,
        )
        found[queue] = sorted(body["id"] for body in bodies)
    return found


def test_tasks_move_by_their_names_and_the_others_stay(app: umbel.Celery) -> None:
    for index in range(3):
        app.send_task("feed.read", (index,), task_id=f"f{index}")
        app.send_task("mail.send", task_id=f"m{index}")

    state = migrate.move_by_taskmap({"feed.read": "feeds"}, app=app, timeout=0.05)

    assert (state.filtered, state.count, repr(state)) == (3, 6, "^3")
    assert _waiting(app, "celery", "feeds") == {
        "celery": ["m0", "m1", "m2"],
        "feeds": ["f0", "f1", "f2"],
    }


def test_tasks_move_by_their_ids_until_all_are_found(app: umbel.Celery) -> None:
    for index in range(5):
        app.send_task("feed.read", task_id=f"f{index}")
    queue = Queue("other", Exchange("other"), "other")

    state = migrate.move_by_idmap({"f1": "feeds", "f3": queue}, app=app, timeout=0.05)
    migrate.move_task_by_id("f4", "feeds", app=app, timeout=0.05)

    assert state.filtered == 2
    assert _waiting(app, "celery", "feeds", "other") == {
        "celery": ["f0", "f2"],
        "feeds": ["f1", "f4"],
        "other": ["f3"],
    }


def test_a_predicate_sees_arguments_and_headers_and_says_where_to(app: umbel.Celery) -> None:
    app.send_task("feed.read", (1,), {"url": "x"}, task_id="f1", headers={"tenant": "a"})
    app.send_task("feed.read", (2,), task_id="f2")
    seen = []

    def choose(body, message):
        seen.append((body["args"], body["kwargs"], body["retries"], message.content_type))
        assert message.properties["correlation_id"] == body["id"]
        return ("", "other") if message.headers.get("tenant") == "a" else None

    told = []
    move(choose, app=app, timeout=0.05, callback=lambda state, body, _: told.append(body["id"]))

    assert sorted(seen) == [
        ([1], {"url": "x"}, 0, "application/json"),
        ([2], {}, 0, "application/json"),
    ]
    assert told == ["f1"]
    assert _waiting(app, "celery", "other") == {"celery": ["f2"], "other": ["f1"]}


def test_a_task_that_goes_to_a_queue_that_is_read_as_well_is_moved_once(app: umbel.Celery) -> None:
    app.send_task("feed.read", task_id="f0")

    # A limit, lest the test goes on for ever where the promise does not hold.
    state = move(
        lambda body, message: True,
        exchange="",
        routing_key="other",
        source=["celery", "other"],
        app=app,
        timeout=0.05,
        limit=9,
    )

    assert repr(state) == "^1"
    assert _waiting(app, "celery", "other") == {"celery": [], "other": ["f0"]}


def test_nothing_is_lost_when_a_function_fails_or_stops(app: umbel.Celery) -> None:
    for index in range(4):
        app.send_task("feed.read", task_id=f"f{index}")

    with pytest.raises(ZeroDivisionError):
        move(lambda body, _: 1 / 0, app=app, timeout=0.05)
    with pytest.raises(ValueError, match="not said where to"):
        move(lambda body, _: True, app=app, timeout=0.05)
    moved = move(lambda *_: True, routing_key="other", exchange="", app=app, limit=1, timeout=0.05)

    def stop(body, message):
        raise StopFiltering

    start_filter(app, None, stop, timeout=0.05)

    waiting = _waiting(app, "celery", "other")
    assert moved.filtered == len(waiting["other"]) == 1
    assert sorted(waiting["celery"] + waiting["other"]) == ["f0", "f1", "f2", "f3"]


def test_tasks_go_to_another_broker_and_are_taken_away(app: umbel.Celery, tmp_path: Path) -> None:
    for index in range(3):
        app.send_task("feed.read", (index,), task_id=f"f{index}")
    app.send_task("mail.send", task_id="m0")
    there = f"sqlite:///{tmp_path / 'there.db'}"

    state = migrate.migrate_tasks(
        app.broker_url,
        there,
        app=app,
        queues="celery:feeds",
        tasks="feed.read",
        ack_messages=True,
        timeout=0.05,
    )

    other = _app(there)
    assert state.count == 3
    assert _waiting(app, "celery") == {"celery": ["m0"]}
    assert _waiting(other, "feeds") == {"feeds": ["f0", "f1", "f2"]}
    other.close()


def test_what_was_moved_is_a_task_to_celery(redis_for_module: str) -> None:
    theirs = celery.Celery("theirs", broker=redis_for_module, set_as_current=False)
    theirs.send_task("feed.read", (1, "é"), {"k": [2]}, task_id="t1")
    ours = _app(redis_for_module)

    migrate.move_direct_by_id("t1", "w1@host", app=ours, timeout=0.05)

    got = []
    with theirs.connection() as connection:
        queue = celery.utils.nodenames.worker_direct("w1@host")
        message = queue(connection.default_channel).get()
        got.append((message.headers["id"], message.headers["task"], message.payload[:2]))
        message.ack()
    ours.close()
    theirs.close()
    assert got == [("t1", "feed.read", [[1, "é"], {"k": [2]}])]


@pytest.mark.parametrize("queues", [None, "a,b:c", ["a", "b:c"], {"a": "b"}])
def test_names_of_queues_are_read_as_celery_reads_them(queues: object) -> None:
    from celery.contrib import migrate as theirs

    assert migrate.prepare_queues(queues) == theirs.prepare_queues(queues)
    assert migrate.expand_dest(("a", "b"), 1, 2) == theirs.expand_dest(("a", "b"), 1, 2)
    assert migrate.expand_dest(True, 1, 2) == theirs.expand_dest(True, 1, 2)
