"""Arguments that a function would refuse are refused where the call is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel import Task

from .conftest import Shop


def fits(x: int, y: int = 1) -> None: ...
def starred(*args: int) -> None: ...
def keyworded(**kwargs: int) -> None: ...
def only(x: int, *, flag: bool) -> None: ...
def positional(x: int, /, y: int = 1) -> None: ...


GOOD: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (fits, (1,), {}),
    (fits, (1, 2), {}),
    (fits, (1,), {"y": 2}),
    (fits, (), {"x": 1, "y": 2}),
    (starred, (), {}),
    (starred, tuple(range(300)), {}),
    (keyworded, (), {"a": 1}),
    (keyworded, (), {}),
    (only, (1,), {"flag": True}),
    (positional, (1,), {"y": 2}),
]
BAD: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (fits, (), {}, "missing a required argument: 'x'"),
    (fits, (1, 2, 3), {}, "too many positional arguments"),
    (fits, (1,), {"x": 1}, "multiple values for argument 'x'"),
    (fits, (1,), {"z": 1}, "unexpected keyword argument 'z'"),
    (starred, (), {"a": 1}, "unexpected keyword argument 'a'"),
    (keyworded, (1,), {}, "too many positional arguments"),
    (only, (1,), {}, "missing a required (keyword-only )?argument: 'flag'"),
    (only, (1, True), {}, "too many positional arguments"),
    (positional, (), {"x": 1}, "'x'"),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), GOOD)
def test_what_fits_is_sent(
    app: Shop, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    app.task(name="it")(function).apply_async(args, kwargs)

    assert tuple(app.letter.body.args) == args
    assert app.letter.body.kwargs == kwargs


@pytest.mark.parametrize(("function", "args", "kwargs", "why"), BAD)
def test_what_does_not_fit_is_refused_with_the_functions_name(
    app: Shop, function: Callable[..., Any], args: Any, kwargs: Any, why: str
) -> None:
    task = app.task(name="it")(function)

    with pytest.raises(TypeError, match=rf"{function.__name__}\(\) .*{why}"):
        task.apply_async(args, kwargs)
    with pytest.raises(TypeError, match=why):
        task.apply_async(args, kwargs, countdown=3)
    assert app.sent == []


@pytest.mark.parametrize(("function", "args", "kwargs", "why"), BAD)
def test_a_bound_tasks_first_parameter_is_not_the_callers(
    app: Shop, function: Callable[..., Any], args: Any, kwargs: Any, why: str
) -> None:
    class Bound(Task[..., Any]):
        name = "it"

        def run(self, x: int, y: int = 1) -> None: ...

    task = app.register_task(Bound())
    task.delay(1)
    task.delay(1, y=2)
    with pytest.raises(TypeError, match=r"run\(\) too many"):
        task.delay(1, 2, 3)
    with pytest.raises(TypeError, match="'x'"):
        task.delay()

    assert len(app.sent) == 2


def test_arguments_may_be_any_sequence_and_mapping_or_nothing(app: Shop) -> None:
    task = app.task(name="it")(lambda *args, **kwargs: None)
    task.apply_async()
    task.apply_async(None, None)
    task.apply_async([1], {"a": 2})
    task.apply_async(range(2))

    assert [(letter.body.args, letter.body.kwargs) for letter in app.letters] == [
        ([], {}),
        ([], {}),
        ([1], {"a": 2}),
        ([0, 1], {}),
    ]


@pytest.mark.parametrize("args", ["text", b"bytes", 5, {"a": 1}, {1, 2}])
def test_arguments_that_are_no_sequence_are_refused(app: Shop, args: Any) -> None:
    with pytest.raises(TypeError, match="args"):
        app.task(name="it")(lambda *args: None).apply_async(args)
    with pytest.raises(TypeError, match="args"):
        app.send_task("it", args)
    assert app.sent == []


@pytest.mark.parametrize("kwargs", ["text", [1], 5])
def test_keyword_arguments_that_are_no_mapping_are_refused(app: Shop, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="kwargs"):
        app.task(name="it")(lambda **kwargs: None).apply_async((), kwargs)
    with pytest.raises(TypeError, match="kwargs"):
        app.send_task("it", (), kwargs)
    assert app.sent == []


def test_a_function_without_a_readable_signature_takes_anything(app: Shop) -> None:
    app.task(name="it")(max).delay(1, 2)
    assert app.letter.body.args == [1, 2]
