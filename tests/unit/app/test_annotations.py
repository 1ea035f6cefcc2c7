"""Tasks changed from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel import Task

from .conftest import MakeApp, Shop


def test_a_task_is_annotated_by_name_and_all_by_a_star(make_app: MakeApp) -> None:
    app = make_app(
        task_annotations={"*": {"rate_limit": "10/s", "max_retries": 1}, "own": {"max_retries": 5}}
    )
    own = app.task(name="own")(lambda: None)
    other = app.task(name="other")(lambda: None)
    app.finalize()
    late = app.task(name="late")(lambda: None)

    assert (own.rate_limit, own.max_retries) == ("10/s", 5)
    assert (other.rate_limit, other.max_retries) == ("10/s", 1)
    assert late.options.max_retries == 1


def test_annotations_win_over_the_decorators_options(make_app: MakeApp) -> None:
    app = make_app(task_annotations={"own": {"acks_late": True}})

    @app.task(name="own", acks_late=False)
    def own() -> None: ...

    assert own.options.acks_late is False
    app.finalize()
    assert own.options.acks_late is True


def test_objects_annotate_too_and_later_ones_win(make_app: MakeApp) -> None:
    class Annotation:
        def annotate(self, task: Task[..., Any]) -> dict[str, Any] | None:
            return {"priority": 7} if task.name == "own" else None

        def annotate_any(self) -> dict[str, Any]:
            return {"priority": 1}

    app = make_app(task_annotations=(Annotation(), {"own": {"max_retries": 2}}))
    own = app.task(name="own")(lambda: None)
    other = app.task(name="other")(lambda: None)
    app.finalize()

    assert (own.priority, own.max_retries, other.priority) == (7, 2, 1)


def test_a_handler_may_be_a_function_that_takes_the_task(make_app: MakeApp) -> None:
    told: list[tuple[str, str]] = []

    def on_failure(self: Task[..., Any], exc: BaseException, *_: object) -> None:
        told.append((self.name, str(exc)))

    app = make_app(task_annotations={"*": {"on_failure": on_failure}})

    @app.task(name="bad")
    def bad() -> None:
        raise ValueError("no")

    app.finalize()
    bad.apply()

    assert told == [("bad", "no")]


def test_the_decorator_takes_handlers_the_same_way(app: Shop) -> None:
    told: list[str] = []

    def on_success(self: Task[..., Any], *_: object) -> None:
        told.append(self.name)

    app.task(name="good", on_success=on_success)(lambda: None).apply()

    assert told == ["good"]


def test_a_method_can_be_decorated_once(make_app: MakeApp) -> None:
    def twice(run: Callable[[int], int]) -> Callable[[int], int]:
        return lambda x: 2 * run(x)

    annotations = {"double": {"@run": twice}}
    app = make_app(task_annotations=(annotations, annotations))
    double = app.task(name="double")(lambda x: x)
    app.finalize()

    assert double(3) == 6
    assert double.apply((3,)).get() == 6


def test_a_method_cannot_become_a_number(make_app: MakeApp) -> None:
    app = make_app(task_annotations={"own": {"retry": 3}})
    app.task(name="own")(lambda: None)

    with pytest.raises(TypeError, match=r"retry=3.*'own'.*is a method"):
        app.finalize()
