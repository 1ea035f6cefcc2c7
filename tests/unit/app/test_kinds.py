"""The classes that an app makes its parts of."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from umbel import Task, Umbel
from umbel.app.control import Control
from umbel.app.current import set_current_app
from umbel.app.registry import TaskRegistry


class Loud(Task[..., Any]):
    loud = True


class Steering(Control):
    pass


class Sorted(TaskRegistry):
    pass


class Report:
    app: Any = None

    def __init__(self, title: str = "") -> None:
        self.title = title

    def __reduce_args__(self) -> tuple[str]:
        return (self.title,)


def make(**given: Any) -> Umbel:
    return Umbel("kinds", broker="memory://", set_as_current=False, **given)


def test_a_class_given_by_name_is_imported_when_it_is_needed() -> None:
    assert make(task_cls=f"{__name__}:Loud").task(name="shout")(print).loud  # type: ignore[attr-defined]
    assert make(task_cls="there.is.no:Module").main == "kinds"
    with pytest.raises(ImportError):
        make(task_cls="there.is.no:Module").task(name="shout")(print)


def test_control_and_registry_may_be_of_other_classes() -> None:
    class Own(Umbel):
        registry_cls = f"{__name__}:Sorted"

    assert isinstance(make(control=Steering).control, Steering)
    assert isinstance(Own("x", set_as_current=False).tasks, TaskRegistry)
    assert type(Own("x", set_as_current=False).tasks).__name__ == "Sorted"


def test_an_app_may_make_the_base_of_its_tasks_itself() -> None:
    class Own(Umbel):
        def create_task_cls(self) -> Any:
            return self.subclass_with_self(Loud, name="Louder", attribute="_app", abstract=True)

    app = Own("x", broker="memory://", set_as_current=False)
    task = app.task(name="shout")(print)

    assert type(task).__name__ == "Louder"
    assert isinstance(task, Loud)
    assert task.app is app


def test_a_subclass_with_the_app_is_pickled_by_where_the_app_has_it() -> None:
    app: Any = make()
    app.Report = app.subclass_with_self(f"{__name__}:Report")
    set_current_app(app)
    try:
        again = pickle.loads(pickle.dumps(app.Report("sales")))
    finally:
        app.close()

    assert app.Report.app is app
    assert isinstance(again, app.Report)
    assert again.title == "sales"


def test_an_app_makes_its_worker_and_its_scheduler() -> None:
    app = make()

    worker = app.Worker(pool="solo", hostname="w@h")
    assert (worker.app, worker.hostname) == (app, "w@h")
    assert app.WorkController(pool="solo").app is app
    assert app.Beat(loglevel="INFO").app is app
