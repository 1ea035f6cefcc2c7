"""Random workflows end as a plain interpreter of the same tree says they do."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from tests.integration.trees import Failed, Tree, build, digest, interpret, size, trees
from umbel import Umbel, chain, chord, group
from umbel.worker import Worker


def define(app: Umbel) -> Any:
    """The tasks that trees are made of."""

    @app.task(throws=ValueError)
    def leaf(*args: Any, tag: str, fails: bool) -> str:
        if fails:
            raise ValueError(tag)
        return digest(tag, args)

    @app.task(bind=True)
    def swap(self: Any, *args: Any, tree: Tree) -> Any:
        return self.replace(build(tree, tasks).clone(args))

    tasks = SimpleNamespace(leaf=leaf, swap=swap)
    return tasks


@contextmanager
def working(app: Umbel, **options: Any) -> Iterator[None]:
    """A worker in a thread of its own."""
    ready, done = threading.Event(), threading.Event()

    async def work() -> None:
        async with Worker(app, **{"pool": "threads", "concurrency": 2, "quiet": True, **options}):
            ready.set()
            await asyncio.to_thread(done.wait)
        await app.aclose()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join(30)
        app.close()


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def running(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Any]:
    """An app with a worker, its tasks, and how many workflows are worth trying on it."""
    path: Path = tmp_path_factory.mktemp("workflows")
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: f"memory://{path}",
        "sqlite": lambda: f"sqlite:///{path}/q.db",
        "redis": lambda: request.getfixturevalue("redis_for_module"),
    }
    url = urls[request.param]()
    app = Umbel("trees", broker=url, backend=url, set_as_current=False)
    tasks = define(app)
    with working(app):
        yield app, tasks, 100 if request.param == "memory" else 20


def outcome(get: Callable[[], Any]) -> Any:
    """A value; or the tag of the task that failed."""
    try:
        return get()
    except Exception as error:
        found = re.findall(r"ValueError\(\\*'(t\d+)", repr(error))
        if not found:
            raise
        return Failed(frozenset(found[:1]))


def expected(tree: Tree) -> Any:
    try:
        return interpret(tree)
    except Failed as failure:
        return failure


def agrees(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Failed):
        return isinstance(found, Failed) and found.tags <= wanted.tags
    return bool(found == wanted)


def test_random_workflows_end_as_the_interpreter_says(running: Any) -> None:
    _, tasks, count = running

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        # Looking for a smaller example would take minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(trees())
    def check(tree: Tree) -> None:
        assume(size(tree) < 60)
        result = build(tree, tasks).apply_async()

        found = outcome(lambda: result.get(timeout=30))

        assert agrees(found, expected(tree)), (found, expected(tree))

    check()


def test_a_body_that_is_replaced_by_a_group_in_a_chain_runs_eagerly_as_ever() -> None:
    leaf = {"kind": "task", "tag": "t0", "fails": False, "immutable": False, "ignores": False}
    group = {"kind": "chain", "parts": [{"kind": "group", "parts": [leaf]}]}
    tree = {"kind": "chord", "parts": [leaf], "body": {"kind": "replaced", "by": group}}
    app = Umbel("eager", broker="memory://eager", set_as_current=False)
    signature = build(tree, define(app))

    found = outcome(lambda: signature.apply().get())

    assert agrees(found, expected(tree)), (found, expected(tree))


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(tree=trees(depth=5))
def test_random_workflows_run_eagerly_as_the_interpreter_says(tree: Tree) -> None:
    assume(size(tree) < 60)
    app = Umbel("eager", broker="memory://eager", set_as_current=False)
    signature = build(tree, define(app))

    found = outcome(lambda: signature.apply().get())

    assert agrees(found, expected(tree)), (found, expected(tree))


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(tree=trees(depth=5))
def test_a_workflow_is_the_same_after_a_journey_as_json(tree: Tree) -> None:
    from umbel import signature
    from umbel.serialization import json

    app = Umbel("travel", broker="memory://travel", set_as_current=False)
    original = build(tree, define(app))
    original.freeze()

    again = signature(json.loads(json.dumps(original)), app=app)

    assert type(again) is type(original)
    assert again.freeze().as_tuple() == original.freeze().as_tuple()


def test_no_step_of_a_chain_is_lost_between_two_chords(tmp_path: Path) -> None:
    url = f"memory://{tmp_path}"
    app = Umbel("steps", broker=url, backend=url, set_as_current=False)

    @app.task(name="step")
    def step(*args: Any, tag: str) -> str:
        return f"{tag}({','.join(map(str, args))})"

    def s(tag: str) -> Any:
        return step.signature((), {"tag": tag})

    # A chord as the body of a chord, with a chain in it and one behind it; and all that as a body.
    steps = chain(group(s("a"), s("b")), chord([s("c")], s("d")), s("e"), chord([s("f")], s("g")))
    with working(app):
        found = steps.apply_async().get(timeout=60)
        inside = chord([s("z")], steps).apply_async().get(timeout=60)

    assert found == "g(['f(e(d([\"c([\\'a()\\', \\'b()\\'])\"])))'])"
    assert re.findall(r"[a-gz]\(", inside) == ["g(", "f(", "e(", "d(", "c(", "a(", "z(", "b(", "z("]


def test_error_callbacks_that_take_more_are_called_for_what_never_ran(tmp_path: Path) -> None:
    app = Umbel("never", broker=f"memory://{tmp_path}", set_as_current=False)
    told: list[Any] = []
    called = threading.Event()

    @app.task
    def note(request: Any, exc: BaseException, traceback: str | None) -> None:
        told.append((request.id, type(exc).__name__))
        called.set()

    @app.task(throws=ValueError)
    def fail() -> None:
        raise ValueError

    @app.task
    def body(values: list[Any]) -> None:
        raise AssertionError

    with working(app):
        result = chord([fail.s()], body.s().on_error(note.s())).apply_async()
        assert called.wait(30)

    assert told == [(result.id, "ChordError")]


def test_a_task_may_replace_itself_by_a_chord_again_and_again(tmp_path: Path) -> None:
    app = Umbel("again", broker=f"memory://{tmp_path}", set_as_current=False)

    @app.task
    def one() -> int:
        return 1

    @app.task(bind=True)
    def count(self: Any, values: list[int], left: int, found: int = 0) -> int:
        found += sum(values)
        if not left:
            return found
        return self.replace(chord([one.si(), one.si()], count.s(left - 1, found)))

    with working(app):
        assert count.delay([], 4).get(timeout=30) == 8
