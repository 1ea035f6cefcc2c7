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
from typing import Any, ClassVar, Self, TypeVar

from umbel.canvas.entries import Entries
from umbel.canvas.plan import listed
from umbel.canvas.sender import Sender
from umbel.canvas.stamping import StampingVisitor, stamps_of
from umbel.result.single import AsyncResult

__all__ = [
    "Signature",
    "given_options",
    "is_unread",
    "maybe_signature",
    "maybe_subtask",
    "new_id",
    "settle",
    "signature",
    "subtask",
]

S = TypeVar("S", bound="Signature")

_KEPT = frozenset({"group_id", "stamped_headers"})
"""Options that a signature has for good: those of a call never replace them."""


class Signature(Entries):
    """One call of one task, complete or not."""

    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    """The classes of compositions, by ``subtask_type``."""

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[S]], type[S]]:
        """Make a class that of all signatures of a ``subtask_type``: its name by default."""

        def register(kind: type[S]) -> type[S]:
            Signature.TYPES[name or kind.__name__] = kind
            return kind

        return register

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
        kind = Signature.TYPES.get(d.get("subtask_type") or "")
        if kind is not None and kind is not cls:
            return kind.from_dict(d, app=app)
        return Signature(d, app=app)

    # -- calling

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Call the task here and now, like a function."""
        args, kwargs, _ = self.merge(partial_args, partial_kwargs, None)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """Send it to a worker, with these arguments before its own."""
        return self.apply_async(partial_args, partial_kwargs)

    async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """:meth:`delay`, without blocking the running loop."""
        return await self.aapply_async(partial_args, partial_kwargs)

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
        args, kwargs, merged = self.merge(args, kwargs, given_options(options, route_name))
        task = self._task()
        if task is None:
            return self.app.send_task(self.task, args, kwargs, **merged)
        result: AsyncResult[Any] = task.apply_async(args, kwargs, **merged)
        return result

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """:meth:`apply_async`, without blocking the running loop."""
        args, kwargs, merged = self.merge(args, kwargs, given_options(options, route_name))
        task = self._task()
        if task is None:
            return await self.app.asend_task(self.task, args, kwargs, **merged)
        result: AsyncResult[Any] = await task.aapply_async(args, kwargs, **merged)
        return result

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now, as a worker would."""
        args, kwargs, merged = self.merge(args, kwargs, given_options(options))
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
        kept = _KEPT.union(merged.get("stamped_headers") or ())
        for name, value in (options or {}).items():
            if name not in kept or name not in merged:
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
    ) -> Self:
        """A copy with more arguments and options; shares nothing with this one but values."""
        merged_args, merged_kwargs, options = self.merge(args, kwargs, opts)
        return self.copied(
            args=merged_args,
            kwargs=merged_kwargs,
            options={name: _copy_links(value) for name, value in options.items()},
        )

    def copied(self, **changes: Any) -> Self:
        """A copy with other entries, where they are given; shares the rest."""
        copy = type(self).__new__(type(self))
        copy.update({**self, **changes})
        copy._app, copy._type = self._app, self._type  # noqa: SLF001 - one of this class
        return copy

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """A copy with other arguments or options, where they are given."""
        copy = self.clone()
        if args is not None:
            copy.args = tuple(args)
        if kwargs is not None:
            copy.kwargs = dict(kwargs)
        if options is not None:
            copy.options = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Change options, or whether it takes more arguments; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes no more arguments."""
        self.immutable = immutable

    def at_home(self, app: Sender | None) -> Self:
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
        self.fix_ids(_id)
        if options.get("group_id") is None and group_id is not None:
            options["group_id"] = group_id
        place = {
            "root_id": root_id,
            "parent_id": parent_id,
            "chord": chord,
            "group_index": group_index,
        }
        options.update({name: value for name, value in place.items() if value is not None})
        options.setdefault("reply_to", self.app.oid)
        return AsyncResult(options["task_id"], app=self.app)

    def fix_ids(self, end: str | None = None) -> None:
        """Give an id to everything in it that has none.

        Args:
            end: The id of the task that it ends in.
        """
        if not self.options.get("task_id"):
            self.options["task_id"] = end or new_id()

    @property
    def end_id(self) -> str | None:
        """The id of the task that it ends in, once it is frozen."""
        return self.id

    def link(self, callback: Any) -> Any:
        """Call ``callback`` with the result; returns it. The same one is linked once."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` when the task fails; returns it. The same one is linked once."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """:meth:`link_error`, but returns this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add ``value`` to a list among the options, unless it is there; returns it."""
        settle(value)
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

    # -- composition

    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]  # not as dicts do
        """A chain: what this returns is the first argument of ``other``; after a group, a chord."""
        return Signature.TYPES["chain"].join(self, other)

    def __ior__(self, other: Signature) -> Signature:  # type: ignore[override]  # noqa: PYI034 - as above
        return self | other

    @classmethod
    def join(cls, left: Signature, right: Signature) -> Signature:
        """What ``left | right`` is; chains know."""
        raise NotImplementedError

    # -- stamps

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Put stamps on it and its links; returns itself.

        Args:
            visitor: Says what to stamp what with.
            append_stamps: Whether a stamp that is there already becomes a list of both.
            headers: Stamps by name.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        found = visitor.on_signature(self, **headers) if visitor is not None else None
        return self.set(**stamps_of(headers, found, self.options, append=append_stamps))

    def stamp_links(
        self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Put stamps on its callbacks and error callbacks."""
        for key in ("link", "link_error"):
            if not self.options.get(key):
                continue
            links: list[Any] = [
                maybe_signature(each, app=self._app) for each in listed(self.options[key])
            ]
            self.options[key] = links
            for link in links:
                found: Mapping[str, Any] | None = None
                if visitor is not None:
                    tell = visitor.on_callback if key == "link" else visitor.on_errback
                    found = tell(link, **headers)
                stamps = stamps_of(headers, found, None, append=append_stamps)
                link.stamp(visitor, append_stamps, **stamps)

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
        copy = self.copied(**deepcopy(dict(self), memo))
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def _list_option(self, key: str) -> list[Any]:
        items = self.options[key] = listed(self.options.get(key))
        return items

    def _task(self) -> Any:
        return self._type if self._type is not None else self.app.tasks.get(self.task)


def is_unread(value: Any) -> bool:
    """Whether it is a composition of what a generator is still to make."""
    return bool(getattr(getattr(value, "tasks", None), "is_lazy", False))


def settle(value: Any) -> None:
    """Read the generator in what is to be kept: it may be needed more than once."""
    if is_unread(value):
        value.tasks = [*value.tasks]


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


def given_options(options: Mapping[str, Any], route_name: str | None = None) -> dict[str, Any]:
    """Options that say something."""
    given = {name: value for name, value in options.items() if value is not None}
    if route_name:
        given["route_name"] = route_name
    return given


def new_id() -> str:
    """A random id."""
    from uuid import uuid4  # costs 3 ms; programs that only call tasks freeze no signature

    return str(uuid4())
