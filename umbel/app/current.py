"""The current app, and what follows it around: proxies and shared tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

from umbel.canvas.sender import send_through
from umbel.current import answer_with
from umbel.execution import context
from umbel.result.waiting import look_through

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.task import Task
    from umbel.app.task_types import BoundDecorator, CoroutineTask, Decorator

__all__ = [
    "Proxy",
    "app_or_default",
    "bugreport",
    "current_app",
    "current_everywhere",
    "current_task",
    "finalized_apps",
    "forget_app",
    "get_current_app",
    "get_default_app",
    "is_default_of_process",
    "kept",
    "make_default_with",
    "note_finalized",
    "set_current_app",
    "set_default_app",
    "shared_task",
    "shared_task_makers",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Current(threading.local):
    """The app that this thread made current."""

    app: Umbel | None = None


class _Everywhere:
    """The app that is current in all threads."""

    def __init__(self, app: Umbel) -> None:
        self.app: Umbel | None = app


_current: _Current | _Everywhere = _Current()
_default: Umbel | None = None
_default_mutex = threading.RLock()
_make: Callable[[], Umbel] | None = None
_made: Umbel | None = None

_finalized: WeakSet[Umbel] = WeakSet()
_finalized_mutex = threading.Lock()

# Every shared task there is, each made again for every app; grows with the program's code only.
shared_task_makers: list[Callable[[Umbel], object]] = []


def get_current_app() -> Umbel:
    """The app that was made current last in this thread, else the default one, made if needed."""
    app = _current.app
    if app is None:
        app = _default or _make_default()
    return app


def get_default_app() -> Umbel:
    """The app that threads without a current one see, made if needed."""
    return _default or _make_default()


def set_current_app(app: Umbel) -> None:
    """Make ``app`` current in this thread; the first one is every thread's default."""
    global _default  # noqa: PLW0603 - the one current app
    _current.app = app
    with _default_mutex:
        if _default is None:
            _default = app


def set_default_app(app: Umbel) -> None:
    """Make ``app`` the one that threads without a current app see."""
    global _default  # noqa: PLW0603 - the one default app
    with _default_mutex:
        _default = app


def forget_app(app: Umbel) -> None:
    """Make ``app`` neither this thread's current one nor the default any more."""
    global _default  # noqa: PLW0603 - the one default app
    if _current.app is app:
        _current.app = None
    with _default_mutex:
        if _default is app:
            _default = None


@contextmanager
def current_everywhere(app: Umbel) -> Generator[None]:
    """In this block, all threads see ``app``, unless they make another one current."""
    global _current, _default
    before = _current, _default
    _current, _default = _Everywhere(app), app
    try:
        yield
    finally:
        _current, _default = before


@contextmanager
def kept() -> Generator[None]:
    """After this block, this thread's app, the default one and the shared tasks are as before;
    but tasks that modules share stay, since nobody will import these again."""
    global _default
    app, default = _current.app, _default
    makers, finalized = list(shared_task_makers), finalized_apps()
    try:
        yield
    finally:
        _current.app, _default = app, default
        shared_task_makers[:] = [
            maker
            for maker in shared_task_makers
            if maker in makers or "<locals>" not in getattr(maker, "__qualname__", "")
        ]
        with _finalized_mutex:
            _finalized.intersection_update(finalized)


def make_default_with(make: Callable[[], Umbel]) -> None:
    """Say how the default app is made where none was made yet."""
    global _make  # noqa: PLW0603 - set once, by the composition root
    _make = make


def _make_default() -> Umbel:
    global _made  # noqa: PLW0603 - the one default app
    with _default_mutex:
        if _default is None:
            assert _make is not None, "umbel.app.base has not been imported"
            _made = _make()
            set_default_app(_made)
        return cast("Umbel", _default)


def is_default_of_process(app: Umbel) -> bool:
    """Whether nobody made ``app``, so that any process without another one has the same."""
    return app is _made


def note_finalized(app: Umbel) -> None:
    """From now on shared tasks are made for ``app`` as they come."""
    with _finalized_mutex:
        _finalized.add(app)


def finalized_apps() -> list[Umbel]:
    """The apps that have been finalized, or are about to be, and are still there."""
    with _finalized_mutex:
        return list(_finalized)


def bugreport(app: Umbel | None = None) -> str:
    """What belongs into a report of a bug of ``app``, by default the current one."""
    return (app or get_current_app()).bugreport()


def app_or_default(app: Umbel | None = None) -> Umbel:
    """``app``, else the current one."""
    return get_current_app() if app is None else app


class Proxy(Generic[T]):
    """Stands for something that is looked up anew at each use."""

    __slots__ = ("_look_up",)

    _look_up: Callable[[], T]

    def __init__(self, look_up: Callable[[], T]) -> None:
        object.__setattr__(self, "_look_up", look_up)

    def _get_current_object(self) -> T:
        """What it stands for now."""
        return self._look_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look_up(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._look_up(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._look_up(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - what it stands for says
        return cast("Callable[..., Any]", self._look_up())(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._look_up())

    def __eq__(self, other: object) -> bool:
        return self._look_up() == other

    def __hash__(self) -> int:
        return hash(self._look_up())

    def __repr__(self) -> str:
        return repr(self._look_up())

    def __str__(self) -> str:
        return str(self._look_up())

    def __dir__(self) -> list[str]:
        return dir(self._look_up())

    # isinstance() sees what it stands for.
    @property  # type: ignore[misc]
    def __class__(  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        self,
    ) -> Any:
        return type(self._look_up())

    def __reduce__(self) -> Any:
        return self._look_up().__reduce__()


current_app = cast("Umbel", Proxy(get_current_app))
"""Stands for the current app."""

current_task = cast("Task[..., Any]", Proxy(context.current_task))
"""Stands for the task that is running here; false outside of one."""


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> BoundDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Any) -> Decorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """A task of every app, for code that knows none: a reusable library, a Django app.

    Takes the options of ``app.task``.
    """
    if args and callable(args[0]):
        return _share(args[0], options)

    def share(function: Callable[..., Any]) -> Any:
        return _share(function, options)

    return share


def _share(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    def make(app: Umbel) -> Task[..., Any]:
        return app.task_from_function(function, **options)

    # It lives as long as what it makes a task of; see kept().
    make.__qualname__ = getattr(function, "__qualname__", make.__qualname__)
    shared_task_makers.append(make)
    name = options.get("name")
    # Apps that are finalized already would never ask.
    for app in finalized_apps():
        make(app)

    def look_up() -> Task[..., Any]:
        app = get_current_app()
        return app.tasks[name or app.gen_task_name(function.__name__, function.__module__)]

    return Proxy(look_up)


look_through(get_current_app)
send_through(get_current_app)
answer_with(get_current_app)
