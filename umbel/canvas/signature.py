"""Signatures: a call as a value, to be completed, linked, passed on and sent later.

A signature is a dict, because it is documented to be one, and because callbacks travel as one::

    {"task": "tasks.add", "args": (2,), "kwargs": {}, "options": {},
     "subtask_type": None, "immutable": False}

Source:
    Celery user guide, "Canvas: Designing Work-flows"; reference, ``celery.canvas.Signature``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NoReturn, Protocol, overload

from umbel.canvas.follow_up import listed
from umbel.exceptions import ImproperlyConfigured
from umbel.result.single import AsyncResult
from umbel.result.waiting import ResultSource

__all__ = [
    "Sender",
    "Signature",
    "maybe_signature",
    "maybe_subtask",
    "send_through",
    "signature",
    "subtask",
]

_KEPT = frozenset({"group_id", "stamped_headers"})
"""Options that a signature has for good: those of a call never replace them."""


class Sender(ResultSource, Protocol):
    """What a signature needs of an app."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks that are known here, by name."""
        ...

    @property
    def oid(self) -> str:
        """Where results that travel as messages are sent."""
        ...

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task that need not be known here."""
        ...


# Set once, by the composition root: signatures made without an app are sent by the current one.
_default: Callable[[], Sender] | None = None


def send_through(default: Callable[[], Sender]) -> None:
    """Say by which app signatures are sent that were made without one."""
    global _default  # noqa: PLW0603 - the one place that sets it
    _default = default


class Signature(dict[str, Any]):
    """One call of one task, complete or not."""

    _app: Sender | None = None
    _type: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Sender | None = None,
        **ex: Any,
    ) -> None:
        """A call of ``task``, which is a task, its name, or another signature as a dict.

        Args:
            immutable: Take no more arguments than these.
            ex: More options, for example ``countdown=10``.
        """
        super().__init__()
        self._app = app
        if isinstance(task, Mapping):
            self.update(task)  # pyright: ignore[reportUnknownArgumentType] - user values
            return
        if task is not None and not isinstance(task, str):
            self._type = task
        self.update(
            task=task if task is None or isinstance(task, str) else task.name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **ex},
            subtask_type=subtask_type,
            immutable=immutable,
        )
        if type is not None:
            self._type = type

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> Signature:
        """The signature that ``d`` is the form of; shares its contents."""
        return Signature(d, app=app)

    # -- what it says

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self["task"])

    @task.setter
    def task(self, value: str) -> None:
        self["task"] = value

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task

    @property
    def args(self) -> Sequence[Any]:
        """The positional arguments so far."""
        found: Sequence[Any] = self.setdefault("args", ())
        return found

    @args.setter
    def args(self, value: Sequence[Any]) -> None:
        self["args"] = value

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments so far."""
        found: dict[str, Any] = self.setdefault("kwargs", {})
        return found

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self["kwargs"] = value

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``apply_async`` so far."""
        found: dict[str, Any] = self.setdefault("options", {})
        return found

    @options.setter
    def options(self, value: dict[str, Any]) -> None:
        self["options"] = value

    @property
    def subtask_type(self) -> str | None:
        """What kind of composition it is; None: a plain task."""
        found: str | None = self.get("subtask_type")
        return found

    @property
    def immutable(self) -> bool:
        """Whether it takes no more arguments."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> str | None:
        """The id its task will have, once it is frozen."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task it is sent by, once it is frozen."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of the workflow, once it is frozen."""
        return self.options.get("root_id")

    @property
    def app(self) -> Sender:
        """The app it is sent by: its own, its task's, or the current one."""
        if self._app is not None:
            return self._app
        app: Sender | None = getattr(self._type, "app", None)
        if app is None:
            if _default is None:
                msg = f"{self!r} belongs to no app. Pass app=, or make an app current."
                raise ImproperlyConfigured(msg)
            app = _default()
        return app

    @property
    def type(self) -> Any:
        """The task itself.

        Raises:
            NotRegistered: It is not known here.
        """
        return self._type if self._type is not None else self.app.tasks[self.task]

    # -- calling

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Call the task here and now, like a function."""
        args, kwargs, _ = self.merge(partial_args, partial_kwargs, None)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """Send it to a worker, with these arguments before its own."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send it to a worker, with more arguments and options. None options are no options.

        Args:
            route_name: Route it as if the task had this name.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if route_name:
            given["route_name"] = route_name
        self._refuse_composition()
        args, kwargs, merged = self.merge(args, kwargs, given)
        task = self._type if self._type is not None else self.app.tasks.get(self.task)
        if task is None:
            return self.app.send_task(self.task, args, kwargs, **merged)
        result: AsyncResult[Any] = task.apply_async(args, kwargs, **merged)
        return result

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now, as a worker would."""
        given = {name: value for name, value in options.items() if value is not None}
        self._refuse_composition()
        args, kwargs, merged = self.merge(args, kwargs, given)
        return self.type.apply(args, kwargs, **merged)

    def __invert__(self) -> Any:
        """``~sig``: send it and wait for what it returns."""
        return self.apply_async().get()

    def merge(
        self,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any] | None,
        *,
        force: bool = False,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """All of a call: arguments go before its own, keywords and options over its own.

        Args:
            force: Even if it is immutable.
        """
        merged = dict(self.options)
        for name, value in (options or {}).items():
            if name not in _KEPT or name not in merged:
                merged[name] = value
        if self.immutable and not force:
            return tuple(self.args), dict(self.kwargs), merged
        return (*(args or ()), *self.args), {**self.kwargs, **(kwargs or {})}, merged

    # -- changing

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **opts: Any,
    ) -> Signature:
        """A copy with more arguments and options; shares nothing with this one but values."""
        merged_args, merged_kwargs, options = self.merge(args, kwargs, opts)
        copy = Signature(
            {
                **self,
                "args": merged_args,
                "kwargs": merged_kwargs,
                "options": {name: _copy_links(value) for name, value in options.items()},
            },
            app=self._app,
        )
        copy._type = self._type
        return copy

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature:
        """A copy with other arguments or options, where they are given."""
        copy = self.clone()
        if args is not None:
            copy.args = tuple(args)
        if kwargs is not None:
            copy.kwargs = dict(kwargs)
        if options is not None:
            copy.options = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Change options, or whether it takes more arguments; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes no more arguments."""
        self.immutable = immutable

    def at_home(self, app: Sender | None) -> Signature:
        """Make it one of ``app``, unless it has an app already; returns itself."""
        if app is not None and self._app is None:
            self._app = app
        return self

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> AsyncResult[Any]:
        """Fix the id it will have, and its place in a workflow; returns its result to come."""
        options = self.options
        if not options.get("task_id"):
            options["task_id"] = _id or _new_id()
        place = {
            "root_id": root_id,
            "parent_id": parent_id,
            "group_id": group_id,
            "chord": chord,
            "group_index": group_index,
        }
        options.update({name: value for name, value in place.items() if value is not None})
        options.setdefault("reply_to", self.app.oid)
        return AsyncResult(options["task_id"], app=self.app)

    def link(self, callback: Any) -> Any:
        """Call ``callback`` with the result; returns it. The same one is linked once."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` when the task fails; returns it. The same one is linked once."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """:meth:`link_error`, but returns this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add ``value`` to a list among the options, unless it is there; returns it."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add several values to a list among the options; one value may stand by itself."""
        self._list_option(key).extend(listed(value))

    def flatten_links(self) -> list[Any]:
        """A list of this signature, its callbacks, their callbacks, and so on."""
        found: list[Any] = [self]
        for callback in listed(self.options.get("link")):
            linked: Any = maybe_signature(callback, app=self._app)
            found += linked.flatten_links()
        return found

    # -- composition comes with workflows

    def __or__(self, other: object) -> NoReturn:
        msg = f"{self!r} | {other!r}: chains come with the workflows release of umbel. Use link()."
        raise NotImplementedError(msg)

    def stamp(
        self, visitor: object = None, append_stamps: bool = False, **headers: Any
    ) -> NoReturn:
        """Stamping comes with workflows."""
        msg = "Stamping comes with the workflows release of umbel. Use set(headers={...})."
        raise NotImplementedError(msg)

    # -- looks

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as one would write it, with these arguments before its own."""
        merged_args, merged_kwargs, _ = self.merge(args, kwargs, None, force=True)
        shown = [repr(arg) for arg in merged_args]
        shown += [f"{name}={value!r}" for name, value in merged_kwargs.items()]
        return f"{self.task}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        """What is sent: a plain dict."""
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature:
        # Apps and tasks are not values: the copy shares them.
        copy = Signature(deepcopy(dict(self), memo), app=self._app)
        copy._type = self._type
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def _list_option(self, key: str) -> list[Any]:
        items = self.options[key] = listed(self.options.get(key))
        return items

    def _refuse_composition(self) -> None:
        if self.subtask_type is not None:
            msg = (
                f"Cannot start a {self.subtask_type}: it comes with the workflows release of umbel."
            )
            raise NotImplementedError(msg)


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature:
    """A signature from a task, a name and arguments, a dict, or another one (which is copied).

    >>> signature("tasks.add", args=(2, 2), countdown=10)
    tasks.add(2, 2)
    """
    app = kwargs.get("app")
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, Mapping):
        return Signature.from_dict(varies, app=app)  # pyright: ignore[reportUnknownArgumentType] - user values
    return Signature(varies, *args, **kwargs)


subtask = signature


@overload
def maybe_signature(d: None, app: Sender | None = None, clone: bool = False) -> None: ...
@overload
def maybe_signature(d: Any, app: Sender | None = None, clone: bool = False) -> Any: ...
def maybe_signature(d: Any, app: Sender | None = None, clone: bool = False) -> Any:
    """Make sure that a dict is a signature; what is neither is returned as it is.

    Args:
        app: The app it is sent by, if it has none of its own.
        clone: Return a copy of what is a signature already.
    """
    if not isinstance(d, Mapping):
        return d
    if not isinstance(d, Signature):
        return signature(d, app=app)
    return (d.clone() if clone else d).at_home(app)


maybe_subtask = maybe_signature


def _copy_links(value: Any) -> Any:
    return [*value] if isinstance(value, list) else value


def _new_id() -> str:
    from uuid import uuid4  # costs 3 ms; programs that only call tasks freeze no signature

    return str(uuid4())
