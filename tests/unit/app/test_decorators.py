"""Functions and classes become tasks."""

from __future__ import annotations

import functools
import os
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Task, Umbel
from umbel.exceptions import DuplicateTaskNameWarning, InvalidTaskError

from .conftest import MakeApp, Shop
from .test_app import in_threads


def test_a_decorated_function_is_a_task_that_can_be_called(app: Shop) -> None:
    @app.task
    def add(x: int, y: int = 1) -> int:
        """Adds."""
        return x + y

    assert isinstance(add, Task)
    assert add(2) == 3
    assert add(2, y=5) == 7
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."
    assert add.__module__ == __name__
    assert add.__wrapped__(1, 1) == 2
    assert app.tasks[f"{__name__}.add"] is add


def test_options_may_be_given_in_parentheses_or_not_at_all(app: Shop) -> None:
    @app.task()
    def one() -> None: ...

    @app.task(name="named", max_retries=9)
    def two() -> None: ...

    assert one.name == f"{__name__}.one"
    assert two.name == "named"
    assert two.max_retries == 9


def test_decorating_something_else_than_a_function_is_an_error(app: Shop) -> None:
    with pytest.raises(TypeError, match="takes one function"):
        app.task("name")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="by keyword"):
        app.task(print, {"max_retries": 3})  # type: ignore[call-overload]


def test_an_option_that_would_hide_a_method_is_an_error(app: Shop) -> None:
    with pytest.raises(TypeError, match=r"retry.*is a method"):

        @app.task(name="hides", retry=3)
        def hides() -> None: ...


def test_a_bound_task_gets_itself_first(app: Shop) -> None:
    @app.task(bind=True, name="bound")
    def bound(self: Task[..., Any], x: int) -> tuple[Any, int, str]:
        return self, x, self.name

    assert bound(3) == (bound, 3, "bound")
    assert bound.apply((3,)).get()[1:] == (3, "bound")


def test_a_base_class_is_made_once_and_keeps_what_it_has(app: Shop) -> None:
    class Database(Task[..., Any]):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            self.connection = object()

    @app.task(base=Database, bind=True, name="query")
    def query(self: Any) -> object:
        return self.connection

    app.finalize()

    assert query() is query() is app.tasks["query"].connection
    assert query.apply().get() is query()
    assert Database.made == 1


def test_state_kept_on_the_task_stays_between_runs(app: Shop) -> None:
    @app.task(bind=True, name="count")
    def count(self: Any) -> int:
        self.calls = getattr(self, "calls", 0) + 1
        return int(self.calls)

    assert [count(), count.apply().get(), count()] == [1, 2, 3]


def test_the_apps_own_task_class_is_the_base_of_all(make_app: MakeApp) -> None:
    class Noted(Task[..., Any]):
        def on_bound(self, app: Umbel) -> None:
            self.home = app.main

    app = make_app(task_cls=Noted)

    @app.task(name="one")
    def one() -> None: ...

    assert isinstance(one, Noted)
    assert one.home == "shop"
    assert issubclass(app.Task, Noted)


def test_the_apps_task_attribute_is_a_base_that_knows_the_app(app: Shop) -> None:
    class Print(app.Task):  # type: ignore[name-defined,misc]
        name = "print"

        def run(self, text: str) -> str:
            return text.upper()

    task = app.register_task(Print())

    assert task.app is app
    assert Print().app is app
    assert app.tasks["print"].delay("x").id == app.letter.id


def test_an_app_can_be_given_another_base_of_tasks(app: Shop) -> None:
    class Counted(Task):  # type: ignore[type-arg]
        counted = True

    app.Task = Counted

    assert issubclass(app.Task, Counted)
    assert app.task(name="buy")(lambda: None).counted  # type: ignore[attr-defined]


def test_a_class_based_task_is_registered_by_instance_or_class(app: Shop) -> None:
    class Sum(Task[..., Any]):
        def run(self, *numbers: int) -> int:
            return sum(numbers)

    class Named(Task[..., Any]):
        name = "named"

        def run(self) -> str:
            return "ran"

    one = app.register_task(Sum())
    two = app.register_task(Named)

    assert one.name == f"{__name__}.Sum"
    assert one(1, 2) == 3
    assert app.tasks["named"] is two
    assert two.apply().get() == "ran"


def test_a_class_that_overrides_call_is_called_that_way_by_a_worker_too(app: Shop) -> None:
    class Doubling(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return 2 * super().__call__(*args, **kwargs)

    @app.task(base=Doubling, bind=True, name="three")
    def three(self: Any) -> int:
        assert self.request.called_directly is (self.request.id is None)
        return 3

    assert three() == 6
    assert three.apply().get() == 6


def test_a_task_without_run_says_so(app: Shop) -> None:
    class Empty(Task[..., Any]):
        name = "empty"

    with pytest.raises(NotImplementedError, match="must define the run method"):
        app.register_task(Empty())()


def test_the_registry_refuses_what_has_no_name(app: Shop) -> None:
    with pytest.raises(InvalidTaskError, match=r"must specify \.name"):
        app.tasks.register(Task())


def test_other_decorators_stack_under_the_task_decorator(app: Shop) -> None:
    def loud(function: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return function(*args, **kwargs).upper()

        return wrapper

    @app.task
    @loud
    def greet(name: str) -> str:
        return f"hello {name}"

    assert greet.name == f"{__name__}.greet"
    assert greet("ann") == "HELLO ANN"
    assert greet.apply(("ann",)).get() == "HELLO ANN"
    greet.delay("ann")
    with pytest.raises(TypeError, match="name"):
        greet.delay()
    with pytest.raises(TypeError, match="too many"):
        greet.delay("ann", "bob")


def test_a_wrapper_with_a_signature_of_its_own_stacks_under_a_bound_task(app: Shop) -> None:
    def checked(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> int:
            return function(self, *args, **kwargs)

        return wrapper

    @app.task(bind=True)
    @checked
    def add(self: Any, x: int, y: int) -> int:
        return x + y

    add.delay(1, 2)
    assert add(1, y=2) == 3
    with pytest.raises(TypeError, match="y"):
        add.delay(1)


async def test_a_decorated_coroutine_function_stays_one(app: Shop) -> None:
    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @app.task
    @noted
    async def fetch(x: int) -> int:
        return x

    @app.task
    async def plain(x: int) -> int:
        return x

    assert fetch.is_coroutine
    assert plain.is_coroutine
    assert await fetch(3) == 3
    assert await plain(3) == 3


def test_a_callable_object_can_be_a_task(app: Shop) -> None:
    class Greeter:
        def __call__(self, name: str) -> str:
            return f"hello {name}"

    one = app.task(name="greet")(Greeter())
    two = app.task(name="partial")(functools.partial(int, base=2))

    assert one("ann") == "hello ann"
    assert one.apply(("ann",)).get() == "hello ann"
    one.delay("ann")
    assert two("101") == 5


def test_the_same_function_twice_is_one_task(app: Shop) -> None:
    def work() -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.task(work) is app.task(work)


def test_another_function_of_the_same_name_warns_and_says_where_both_are(app: Shop) -> None:
    @app.task(name="same")
    def one() -> int:
        return 1

    with pytest.warns(DuplicateTaskNameWarning, match=r"'same'.*test_decorators\.py:\d+.*ignored"):

        @app.task(name="same")
        def two() -> int:
            return 2

    assert two is one
    assert app.tasks["same"]() == 1


def test_the_warning_about_a_duplicate_points_at_the_second_function(app: Shop) -> None:
    app.task(name="same")(lambda: 1)
    with pytest.warns(DuplicateTaskNameWarning) as caught:
        app.task(name="same")(lambda: 2)
    assert caught[0].filename == __file__
    with pytest.warns(DuplicateTaskNameWarning) as caught:

        @app.task(name="same")
        def work() -> None: ...

    assert caught[0].filename == __file__


def test_a_reloaded_module_does_not_warn(tmp_path: Path, app: Shop) -> None:
    file = tmp_path / "again.py"
    file.write_text("def make(app):\n    @app.task(name='again')\n    def again(): ...\n")
    for _ in range(2):
        runpy.run_path(str(file))["make"](app)

    assert "again" in app.tasks


@pytest.mark.parametrize(("main", "name"), [("shop", "shop.add"), (None, "script.add")])
def test_a_scripts_tasks_are_named_after_the_main_name_or_the_script(
    tmp_path: Path, main: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        "from umbel import Umbel\n"
        f"app = Umbel({main!r}, set_as_current=False)\n"
        "@app.task\n"
        "def add(): ...\n"
        "name = add.name\n"
    )

    assert runpy.run_path(str(file), run_name="__main__")["name"] == name


def test_threads_that_make_the_same_task_make_it_once(app: Shop) -> None:
    class Once(Task[..., Any]):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1

    def work() -> None: ...

    in_threads(8, lambda _: app.task(base=Once, name="once")(work))

    assert Once.made == 1


def test_a_child_process_has_the_task_its_parent_made(app: Shop) -> None:
    class Once(Task[..., Any]):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1

    task = app.task(base=Once, name="once")(os.getpid)
    child = os.fork()
    if child == 0:
        os._exit(Once.made if app.tasks["once"] is task and task() == os.getpid() else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_unregistered_tasks_are_gone(app: Shop) -> None:
    task = app.task(name="gone")(lambda: None)
    app.tasks.unregister(task)

    assert "gone" not in app.tasks
    with pytest.raises(KeyError, match="gone"):
        app.tasks.unregister("gone")


def test_the_repr_of_a_task_names_it_and_its_app(app: Shop) -> None:
    task = app.task(name="shown")(lambda: None)
    assert repr(task) == f"<@task: shown of shop at {id(app):#x}>"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect knows this mark since 3.12")
def test_a_function_marked_as_coroutine_function_is_one(app: Shop) -> None:
    import inspect

    async def real(x: int) -> int:
        return x

    def outer(x: int) -> Any:
        return real(x)

    assert app.task(name="marked")(inspect.markcoroutinefunction(outer)).is_coroutine


def test_a_plain_wrapper_around_a_coroutine_function_is_awaited_too(app: Shop) -> None:
    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @app.task(name="fetch")
    @noted
    async def fetch(x: int) -> int:
        return x

    assert fetch.apply((3,)).get() == 3


def test_an_app_may_name_its_tasks_otherwise() -> None:
    class Shouting(Umbel):
        def gen_task_name(self, name: str, module: str) -> str:
            return super().gen_task_name(name.upper(), module.removesuffix(".tasks"))

    app = Shouting("shouting", set_as_current=False)

    @app.task
    def add(x: int) -> int:
        return x

    class Sub(Task[..., Any]):
        def run(self) -> None: ...

    assert add.name == f"{__name__}.ADD"
    assert app.register_task(Sub()).name == f"{__name__}.SUB"
