"""Groups: tasks at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count, islice
from typing import Any

from umbel.canvas.composition import Composition
from umbel.canvas.lazy import LazyList, kept
from umbel.canvas.plan import is_mapping, part
from umbel.canvas.sender import Sender
from umbel.canvas.signature import Signature, maybe_signature, new_id, settle
from umbel.canvas.stamping import StampingVisitor, stamps_of

__all__ = ["group"]


@Signature.register_type()
class group(Composition):  # noqa: N801 - Celery's name
    """Tasks that run at the same time; what follows them (``|``) gets the list of their results.

    A group of a generator is sent as the generator makes it, and never in memory as a whole.

    >>> from umbel.canvas.signature import signature
    >>> group(signature("a"), signature("b"))
    group([a(), b()])
    """

    def __init__(self, *tasks: Any, **options: Any) -> None:
        """A group of tasks, or of the tasks in one iterable.

        Args:
            options: For each of the tasks.
        """
        members: Any = [*tasks]
        if len(tasks) == 1:
            only = tasks[0]
            if isinstance(only, group):
                members = only.tasks
            elif isinstance(only, Signature):
                members = [only.clone()]
            else:
                members = [only] if is_mapping(only) else kept(only)
        if members.__class__ is list:
            for member in members:
                settle(part("group", member))
        app = options.pop("app", None)
        super().__init__(
            "celery.group", (), {"tasks": members}, options, subtask_type="group", app=app
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> group:
        """The group that ``d`` is the form of."""
        tasks = [maybe_signature(task, app=app) for task in d["kwargs"].get("tasks") or ()]
        made = cls(tasks, app=app)
        # In place: whoever made ``d`` may look for the signatures there.
        d["kwargs"]["tasks"] = tasks
        made.update(d)
        return made

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send it; see :meth:`apply_async`."""
        return self.apply_async(partial_args, **options)

    def apply_async(  # noqa: D102 - as above
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> Any:
        _refuse_links(options)
        return super().apply_async(args, kwargs, route_name, **options)

    async def aapply_async(  # noqa: D102 - as above
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> Any:
        _refuse_links(options)
        return await super().aapply_async(args, kwargs, route_name, **options)

    def clone(self, args: Iterable[Any] | None = None, kwargs: Any = None, **opts: Any) -> group:
        """A copy with more arguments and options; a generator is read, and shared as a list."""
        settle(self)
        return super().clone(args, kwargs, **opts)

    partial = clone

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Start the tasks one after the other: the first after ``start`` seconds, each other one
        ``step`` seconds later, none after more than ``stop``. Returns itself."""
        for number, task in zip(count(), self._signatures(), strict=False):
            delay = start + number * step
            task.set(countdown=delay if stop is None else min(delay, stop))
        return self

    def link(self, callback: Any) -> Any:
        """Call ``callback`` when the first task has returned, without its value; returns it."""
        immutable = maybe_signature(callback).clone().set(immutable=True)
        for task in islice(self._signatures(), 1):
            task.link(immutable)
        return immutable

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` when any of the tasks fails, once for each; returns what was linked."""
        sig = maybe_signature(errback)
        return tuple(task.link_error(sig.clone()) for task in self._signatures())

    def set_immutable(self, immutable: bool) -> None:
        """Say whether its tasks take no more arguments."""
        for task in self._signatures():
            task.set_immutable(immutable)

    def unrolled(self) -> Signature:
        """Its task, where it has one only; itself otherwise."""
        tasks = self.tasks
        if isinstance(tasks, LazyList) or len(tasks) != 1 or self.args:
            return self
        only: Signature = maybe_signature(tasks[0], app=self._app)
        return only.unrolled() if isinstance(only, group) else only

    def fix_ids(self, end: str | None = None) -> None:
        """Give an id to the group and each of its tasks, which become copies."""
        self.options["task_id"] = self.options.get("task_id") or end or new_id()
        tasks = self.tasks = [
            maybe_signature(task, app=self._app, clone=True) for task in self.tasks
        ]
        for task in tasks:
            task.fix_ids()

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> group:
        """Put stamps on each task and its links; returns itself."""
        found = visitor.on_group_start(self, **headers) if visitor is not None else None
        stamps = stamps_of(headers, found, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        for task in self._signatures():
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            visitor.on_group_end(self, **stamps)
        return self

    def _signatures(self) -> Iterable[Any]:
        """Its tasks, which may still be dicts, as signatures to be changed."""
        tasks = self.tasks
        if isinstance(tasks, LazyList) or any(not isinstance(task, Signature) for task in tasks):
            tasks = self.tasks = [maybe_signature(task, app=self._app) for task in tasks]
        return tasks  # type: ignore[no-any-return]  # a list by now

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        tasks = self.tasks
        if isinstance(tasks, LazyList) and tasks.is_lazy:
            return "group(<generator>)"
        return f"group({[*tasks]!r})" if tasks else "group(<empty>)"


def _refuse_links(options: Mapping[str, Any]) -> None:
    if options.get("link") is not None:
        raise TypeError("Cannot add link to group: use a chord")
    if options.get("link_error") is not None:
        raise TypeError("Cannot add link to group: do that on individual tasks")
