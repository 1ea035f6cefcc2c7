"""Tasks of every app, for code that knows none."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from umbel import Task, Umbel, shared_task
from umbel.exceptions import NotRegistered

from .conftest import MakeApp, Shop
from .test_app import in_threads


def test_a_shared_task_is_one_of_every_app_before_and_after(make_app: MakeApp) -> None:
    before = make_app("before")
    before.finalize()

    @shared_task
    def shared(x: int) -> int:
        return 2 * x

    after = make_app("after")

    name = f"{__name__}.shared"
    assert before.tasks[name](2) == 4
    assert after.tasks[name](2) == 4
    assert before.tasks[name] is not after.tasks[name]


def test_a_shared_task_follows_the_current_app(make_app: MakeApp) -> None:
    one, two = make_app("one"), make_app("two")

    @shared_task(name="shared", bind=True)
    def shared(self: Task[..., Any]) -> str | None:
        return self.app.main

    one.set_current()
    assert shared() == "one"
    assert shared.app is one
    shared.delay()
    two.set_current()
    assert shared() == "two"
    assert shared._get_current_object() is two.tasks["shared"]  # type: ignore[attr-defined]
    assert len(one.sent) == 1
    assert two.sent == []


def test_a_shared_task_takes_the_decorators_options(make_app: MakeApp) -> None:
    app = make_app()
    app.set_current()

    @shared_task(name="opted", max_retries=7, ignore_result=True)
    def opted() -> None: ...

    assert app.tasks["opted"].max_retries == 7
    assert app.tasks["opted"].options.ignore_result is True


def test_a_shared_task_looks_like_a_task(make_app: MakeApp) -> None:
    app = make_app()
    app.set_current()

    @shared_task(name="looks")
    def looks() -> None: ...

    task = app.tasks["looks"]
    assert isinstance(looks, Task)
    assert looks == task
    assert hash(looks) == hash(task)
    assert repr(looks) == repr(task)
    assert pickle.loads(pickle.dumps(looks)) is task
    assert looks.s(1).type is task


def test_a_shared_task_of_a_script_has_each_apps_main_name(make_app: MakeApp) -> None:
    app = make_app("shop")
    app.set_current()

    def scripted() -> None: ...

    scripted.__module__ = "__main__"
    shared = shared_task(scripted)

    assert shared.name == "shop.scripted"


def test_no_shared_task_gets_lost_between_threads(make_app: MakeApp) -> None:
    apps = [make_app(f"app{n}") for n in range(4)]

    def work(number: int) -> None:
        if number < 4:
            apps[number].finalize()
        else:
            shared_task(name=f"shared{number}")(lambda: None)

    in_threads(8, work)

    for app in apps:
        assert {f"shared{n}" for n in range(4, 8)} <= app.tasks.keys()


def test_an_app_that_is_gone_is_not_kept_by_shared_tasks() -> None:
    import gc
    import weakref

    app = Umbel("gone", set_as_current=False)
    app.finalize()
    shared_task(name="outlives")(lambda: None)
    gone = weakref.ref(app)
    del app
    gc.collect()

    assert gone() is None


def test_a_shared_task_that_was_unregistered_says_so(app: Shop) -> None:
    app.set_current()
    shared = shared_task(name="removed")(lambda: None)
    app.tasks.unregister("removed")

    with pytest.raises(NotRegistered, match="removed"):
        shared()
