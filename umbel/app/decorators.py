"""``@app.task``: functions become tasks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from umbel.app.annotations import annotate
from umbel.app.configuring.attributes import fitting
from umbel.app.kinds import Kinds
from umbel.app.task import Task
from umbel.exceptions import DuplicateTaskNameWarning

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.task_types import BoundDecorator, CoroutineTask, Decorator

__all__ = ["TaskDecorators"]

P = ParamSpec("P")
R = TypeVar("R")

_NOT_ATTRIBUTES = frozenset({"lazy", "shared", "filter", "type", "__module__", "_force_evaluate"})


class TaskDecorators(Kinds):
    """The part of an app that makes tasks."""

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, /, *, bind: Literal[False] = False, **options: Any) -> Decorator: ...
    def task(self, /, *args: Any, bind: bool = False, **options: Any) -> Any:
        """Make a task of a function, with or without options.

        ::

            @app.task
            def add(x: int, y: int) -> int:
                return x + y

            @app.task(bind=True, max_retries=5, acks_late=True)
            def fetch(self, url: str) -> str: ...

        Args:
            bind: Whether the task itself is the function's first argument.
            name: Instead of ``module.function``.
            base: A subclass of ``Task`` to make it of.
            pydantic: Whether arguments and result are checked and converted by annotations.
            options: Any attribute of ``Task``.

        Raises:
            TypeError: Called with something else than one function.
        """

        def make(function: Callable[..., Any]) -> Task[..., Any]:
            return self.task_from_function(function, bind=bind, **options)

        match args:
            case ():
                return make
            case (function,) if callable(function):
                return make(function)
            case _:
                message = f"@task() takes one function, not {args!r}; options go by keyword"
                raise TypeError(message)

    def task_from_function(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        base: type[Task[..., Any]] | None = None,
        bind: bool = False,
        pydantic: bool = False,
        **options: Any,
    ) -> Task[..., Any]:
        """The task of a function; the one that is registered already, if there is one."""
        name = name or self.gen_task_name(_name_of(function), function.__module__)
        with self._registering:
            registered = self._tasks.get(name)
            if registered is None:
                return self._make_task(function, name, base, bind, pydantic, options)
        _warn_of_duplicate(registered, function, name)
        return registered

    def _make_task(
        self,
        function: Callable[..., Any],
        name: str,
        base: type[Task[..., Any]] | None,
        bind: bool,
        pydantic: bool,
        options: dict[str, Any],
    ) -> Task[..., Any]:
        task: Task[..., Any] = (base or self._base_of_functions())()
        run = _checked(function, self.main or "", options) if pydantic else function
        task.name = name
        attributes = {
            "run": MethodType(run, task) if bind else run,
            "__wrapped__": function,
            "__module__": function.__module__,
            "__name__": _name_of(function),
            "__qualname__": getattr(function, "__qualname__", _name_of(function)),
            "__doc__": function.__doc__,
            **{
                key: fitting(task, key, value)
                for key, value in options.items()
                if key not in _NOT_ATTRIBUTES
            },
        }
        task.__dict__.update(attributes)
        self._add(task)
        return task

    def register_task(self, task: Task[..., Any] | type[Task[..., Any]], **options: Any) -> Any:
        """Register a class-based task: an instance, or a class to make one of."""
        instance = task() if isinstance(task, type) else task
        if not instance.name:
            kind = type(instance)
            instance.name = self.gen_task_name(_name_of(kind), kind.__module__)
        for key, value in options.items():
            setattr(instance, key, fitting(instance, key, value))
        self._add(instance)
        return instance

    def _add(self, task: Task[..., Any]) -> None:
        task.bind(cast("Umbel", self))
        self._tasks.register(task)
        if self.finalized or self._finalizing:
            self._complete(task)

    def _complete(self, task: Task[..., Any]) -> None:
        annotate(task, self.conf.task_annotations)

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task of function ``name``, to be overridden; what ``__main__`` is called
        is the app's main name, or the script's own."""
        if module == "__main__":
            module = self.main or _script_name() or "__main__"
        return f"{module}.{name}" if module else name


def _checked(
    function: Callable[..., Any], app_name: str, options: dict[str, Any]
) -> Callable[..., Any]:
    # pydantic is an extra, and takes 100 ms to import.
    from umbel.app.pydantic import checked

    return checked(
        function,
        strict=options.pop("pydantic_strict", False),
        context=options.pop("pydantic_context", None),
        dump=options.pop("pydantic_dump_kwargs", None),
        app_name=app_name,
    )


def _warn_of_duplicate(task: Task[..., Any], function: Callable[..., Any], name: str) -> None:
    before = getattr(task, "__wrapped__", None)
    if before is None or before is function or _place(before) == _place(function):
        return
    # Only a warning: the module costs time to import.
    import warnings

    message = (
        f"task name {name!r} is taken by {_place(before)}; the one at {_place(function)} is "
        "ignored. Give one of them another name=."
    )
    warnings.warn(DuplicateTaskNameWarning(message), stacklevel=4)


def _name_of(thing: Callable[..., Any]) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def _script_name() -> str:
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file else ""
