"""What ``task_routes`` may look like, and which route wins."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from umbel import Queue
from umbel.exceptions import ImproperlyConfigured
from umbel.routing.routes import compile_routes
from umbel.utils.imports import symbol_by_name


def found(setting: Any, name: str = "feed.tasks.read", **call: Any) -> dict[str, Any]:
    return dict(compile_routes(setting, symbol_by_name).find(name, **call))


class ByMethod:
    def route_for_task(
        self, task: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> str | None:
        return "by method" if task.startswith("feed.") else None


class ByCall:
    def __call__(self, name: str, *_: Any, **__: Any) -> dict[str, Any]:
        return {"queue": f"q-{name}", "priority": 3}


def by_function(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any
) -> Any:
    return "by function" if name.startswith("feed.") else None


STATIC: list[tuple[str, Any, dict[str, Any]]] = [
    ("nothing", None, {}),
    ("an empty dict", {}, {}),
    ("a name", {"feed.tasks.read": "q"}, {"queue": "q"}),
    ("a dict", {"feed.tasks.read": {"priority": 2}}, {"priority": 2}),
    ("another name", {"feed.tasks.write": "q"}, {}),
    ("a pattern", {"feed.*": "q"}, {"queue": "q"}),
    ("a pattern is anchored", {"tasks.*": "q"}, {}),
    ("a dot is a dot", {"fee.*": "r", "feed.*": "q"}, {"queue": "q"}),
    ("beside a star, shells' other marks", {"fee?.*[cd]": "q"}, {"queue": "q"}),
    ("the exact name first", {"*": "any", "feed.tasks.read": "q"}, {"queue": "q"}),
    ("then patterns in order", {"feed.*": "q", "feed.tasks.*": "r"}, {"queue": "q"}),
    ("a regex", {re.compile(r"(feed|web)\.tasks\..*"): "q"}, {"queue": "q"}),
    ("a regex matches at the start", {re.compile("tasks"): "q"}, {}),
    ("dicts in order", [{"x": "1"}, {"feed.*": "2"}, {"*": "3"}], {"queue": "2"}),
    ("pairs", [("web.*", "w"), ("feed.*", "f")], {"queue": "f"}),
    ("pairs in a list", ([("web.*", "w"), ("feed.*", "f")],), {"queue": "f"}),
    ("pairs as one table", ([("feed.*", "f"), ("feed.tasks.read", "r")],), {"queue": "r"}),
    ("pairs among dicts", [("web.*", "w"), {"feed.*": "f"}], {"queue": "f"}),
    ("nested lists", [[{"web.*": "w"}, [{"feed.*": "f"}]]], {"queue": "f"}),
    ("an empty name is the default", [{"feed.*": ""}, {"*": "q"}], {}),
    ("an empty dict is the default", [{"feed.*": {}}, {"*": "q"}], {}),
    ("None is no route", [{"feed.*": None}, {"*": "q"}], {"queue": "q"}),
]


@pytest.mark.parametrize(
    ("setting", "route"), [row[1:] for row in STATIC], ids=[r[0] for r in STATIC]
)
def test_a_name_is_enough_for_tables(setting: Any, route: dict[str, Any]) -> None:
    assert found(setting) == route
    assert compile_routes(setting, symbol_by_name).is_static


@pytest.mark.parametrize(
    ("setting", "queue"),
    [
        (by_function, "by function"),
        ([{"web.*": "w"}, by_function], "by function"),
        ([{"feed.*": "f"}, by_function], "f"),
        (ByMethod, "by method"),
        (ByMethod(), "by method"),
        ([ByMethod()], "by method"),
        (ByCall, "q-feed.tasks.read"),
        ([ByCall()], "q-feed.tasks.read"),
        ("own_routes.by_function", "by function"),
        (["own_routes:by_function"], "by function"),
        (["own_routes.ByMethod"], "by method"),
        (["own_routes.table", by_function], "from table"),
        (["own_routes.both"], "from table"),
    ],
)
def test_routers_are_functions_classes_objects_and_their_names(
    setting: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("own_routes")
    module.by_function, module.ByMethod, module.table = by_function, ByMethod, {"*": "from table"}
    module.both = [ByMethod, {"*": "from table"}][::-1]
    monkeypatch.setitem(sys.modules, "own_routes", module)

    assert found(setting)["queue"] == queue


def test_a_router_function_is_told_everything_and_makes_routes_depend_on_the_call() -> None:
    told: list[Any] = []

    def ask(*args: Any, **kwargs: Any) -> None:
        told.append((args, kwargs))

    routes = compile_routes([ask, {"*": "rest"}], symbol_by_name)

    assert not routes.is_static
    assert routes.find("t", (1,), {"k": 2}, {"priority": 3}, "the task") == {"queue": "rest"}
    assert told == [(("t", (1,), {"k": 2}, {"priority": 3}), {"task": "the task"})]


def test_a_queue_itself_is_a_route() -> None:
    mail = Queue("mail")

    assert found({"*": mail}) == {"queue": mail}
    assert found(lambda *_, **__: mail) == {"queue": mail}


def test_who_asks_for_a_route_cannot_change_it() -> None:
    configured = {"*": {"queue": "q"}}
    routes = compile_routes(configured, symbol_by_name)
    configured["*"]["queue"] = "changed"

    assert routes.find("any") == {"queue": "q"}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (5, "task_routes has 5: expected a dict"),
        ([{"*": "q"}, 5], "task_routes has 5: expected a dict"),
        ({5: "q"}, "has the key 5: expected the name of a task"),
        ({"*": 5}, r"task_routes\['\*'\] is 5: expected the name of a queue"),
        ({"*": {"countdown": 5}}, r"'countdown': a route says where"),
        (lambda *_, **__: 5, "the router .* in task_routes returned 5: expected"),
        ("umbel.__version__", "names a string, not a router"),
    ],
)
def test_what_is_no_route_is_refused_by_name(setting: Any, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        found(setting)


def test_a_router_that_cannot_be_imported_says_so() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        found(["no_such_module.route"])
