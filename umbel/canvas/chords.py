"""Chords: a group, and the task that gets the list of its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import length_hint
from typing import Any

from umbel.canvas import plan
from umbel.canvas.composition import Composition, app_of, first_of
from umbel.canvas.groups import group
from umbel.canvas.lazy import kept
from umbel.canvas.sender import Sender
from umbel.canvas.signature import Signature, maybe_signature, settle
from umbel.canvas.stamping import StampingVisitor, stamps_of

__all__ = ["chord"]


@Signature.register_type()
class chord(Composition):  # noqa: N801 - Celery's name
    """Tasks that run at the same time (the header), and one that then gets the list of their
    results (the body). Where one of them fails, the body fails with ``ChordError``.

    >>> from umbel.canvas.signature import signature
    >>> chord([signature("a"), signature("b")], signature("total"))
    chord([a(), b()], total())
    """

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Sender | None = None,
        **options: Any,
    ) -> None:
        """A chord of a header (tasks, a group or a generator) and a body, which may also be given
        when it is called: ``chord(header)(body)``."""
        immutable = bool(options.pop("immutable", False))
        options.pop("subtask_type", None)
        options = {**(options.pop("options", None) or {}), **options}
        body = maybe_signature(body, app=app)
        settle(body)
        entries = {**(kwargs or {"kwargs": {}}), "header": _header(header, app), "body": body}
        super().__init__(
            task, args, entries, options, subtask_type="chord", immutable=immutable, app=app
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> chord:
        """The chord that ``d`` is the form of."""
        kwargs = dict(d["kwargs"])
        header, body = kwargs.pop("header", None), kwargs.pop("body", None)
        made = cls(() if header is None else header, body, kwargs=kwargs, app=app)
        made.update({name: value for name, value in d.items() if name != "kwargs"})
        return made

    @property
    def tasks(self) -> Any:
        """The header: signatures, or a group of them."""
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["header"] = value

    @property
    def body(self) -> Any:
        """What is called with the results."""
        return self.kwargs["body"]

    @body.setter
    def body(self, value: Any) -> None:
        self.kwargs["body"] = value

    def own_app(self) -> Sender | None:
        """Its app, or that of its first task, or of its body; None: none of them has any."""
        header = self.tasks
        first = header if isinstance(header, group) else first_of(header)
        return self._app or app_of(first) or app_of(self.body)

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with another body where one is given; see :meth:`apply_async`."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def apply_async(  # noqa: D102 - as above
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> Any:
        whole, kwargs = self._with_body(kwargs)
        return super(chord, whole).apply_async(args, kwargs, route_name, **options)

    async def aapply_async(  # noqa: D102 - as above
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> Any:
        whole, kwargs = self._with_body(kwargs)
        return await super(chord, whole).aapply_async(args, kwargs, route_name, **options)

    def _with_body(self, kwargs: Mapping[str, Any] | None) -> tuple[chord, dict[str, Any]]:
        given: dict[str, Any] = {**(self.kwargs.get("kwargs") or {}), **(kwargs or {})}
        body = given.pop("body", None)
        if not body:
            return self, given
        whole = self.copied(kwargs={**self.kwargs, "body": maybe_signature(body, app=self._app)})
        return whole, given

    def followed_by(self, other: Any) -> chord:
        """The chord whose body is followed by ``other``."""
        body = other if self.body is None else self.body | other
        return self.copied(kwargs={**self.kwargs, "body": body})

    def grouped_header(self) -> group:
        """The header, which becomes a group."""
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self._app)
        header: group = self.tasks
        return header

    def clone(self, args: Iterable[Any] | None = None, kwargs: Any = None, **opts: Any) -> chord:
        """A copy, with a body of its own; a generator is read, and shared as a list."""
        settle(self)
        copy = super().clone(args, kwargs, **opts)
        copy.body = maybe_signature(self.body, clone=True)
        return copy

    partial = clone

    def link(self, callback: Any) -> Any:
        """Call ``callback`` with the result of the body; returns it."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` when the chord fails; returns it.

        With ``task_allow_error_cb_on_chord_header`` also once for each task of the header that
        fails.
        """
        errback = maybe_signature(errback)
        on_header = bool(self.app.conf.task_allow_error_cb_on_chord_header)
        for task in self._header_tasks() if on_header else ():
            task.link_error(errback.clone().set(immutable=True))
        if not on_header and not getattr(self.tasks, "is_lazy", False):
            for task in self._header_tasks():
                if isinstance(task, chord):
                    task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the tasks of the header take no more arguments."""
        for task in self._header_tasks():
            task.set_immutable(immutable)

    def _header_tasks(self) -> list[Any]:
        header = self.tasks
        if isinstance(header, group):
            header = header.tasks
        tasks = [maybe_signature(task, app=self._app) for task in header]
        if isinstance(self.tasks, group):
            self.tasks.tasks = tasks
        else:
            self.tasks = tasks
        return tasks

    def fix_ids(self, end: str | None = None) -> None:
        """Give an id to every task in it, its body and its header, by whose id it goes."""
        header = self.grouped_header()
        header.fix_ids()
        if self.body is not None:
            frozen = self.options.get("task_id")
            self.body.fix_ids(end or (frozen if frozen != header.id else None))
        self.options["task_id"] = header.id

    @property
    def end_id(self) -> str | None:
        """The id of the task that it ends in."""
        return self.id if self.body is None else self.body.end_id

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> chord:
        """Put stamps on the header, the body and their links; returns itself."""
        found = visitor.on_chord_header_start(self, **headers) if visitor is not None else None
        stamps = stamps_of(headers, found, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        for task in self._header_tasks():
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            visitor.on_chord_header_end(self, **stamps)
        if self.body is not None:
            found = visitor.on_chord_body(self, **stamps) if visitor is not None else None
            stamps = stamps_of(stamps, found, None, append=append_stamps)
            self.body.stamp(visitor, append_stamps, **stamps)
        return self

    def __length_hint__(self) -> int:
        tasks = self.tasks.tasks if isinstance(self.tasks, group) else self.tasks
        rules = plan.Rules(lambda: "")
        nodes = (plan.compile(task, rules) for task in tasks)
        return sum(plan.ends(node) for node in nodes if node is not None)

    @property
    def chord_size(self) -> int:
        """How many tasks of the header must end before the body is called."""
        return length_hint(self)

    def __repr__(self) -> str:
        header = self.tasks
        if isinstance(header, group):
            header = header.tasks
        tasks = "<generator>" if getattr(header, "is_lazy", False) else repr([*header])
        return f"chord({tasks}, {self.body!r})"


def _header(header: Any, app: Sender | None) -> Any:
    if isinstance(header, Mapping):
        header = maybe_signature(header, app=app)
        if isinstance(header, group):
            # Its options stay with it: its id is the chord's.
            return header if header.options or header.args else header.tasks
        if isinstance(header, Composition) and not isinstance(header, chord):
            return header.tasks
        return [header]
    tasks: Any = kept(header)
    if tasks.__class__ is list:
        tasks = [maybe_signature(task, app=app) for task in tasks]
        for task in tasks:
            settle(task)
    return tasks
