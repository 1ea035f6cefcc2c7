"""What type checkers know of decorated functions; nothing imports it at run time.

A task has the parameters of its function, but for the first one where it is bound; its results are
of the function's type. An ``async def`` function's task, called directly, is to be awaited; its
results are what it returns in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from umbel.app.task import Task

__all__ = ["BoundDecorator", "CoroutineTask", "Decorator"]

P = ParamSpec("P")
R = TypeVar("R")


class CoroutineTask(Task[P, R]):
    """A task that is an ``async def`` function."""

    def __call__(  # type: ignore[override]  # a Task where it is sent, not where it is called
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Run it here and now, as an ordinary coroutine function."""
        raise NotImplementedError


class Decorator:
    """``@app.task(...)``: takes a function, gives a task of the same shape."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """The function as a task."""
        raise NotImplementedError


class BoundDecorator:
    """``@app.task(bind=True)``: the first parameter is the task itself."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """The function as a task."""
        raise NotImplementedError
