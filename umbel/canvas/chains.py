"""Chains: one task after the other; and what ``|`` makes of any two signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.canvas.chords import chord
from umbel.canvas.composition import Composition
from umbel.canvas.groups import group
from umbel.canvas.plan import is_mapping, listed, part
from umbel.canvas.sender import Sender
from umbel.canvas.signature import Signature, is_unread, maybe_signature, settle
from umbel.canvas.stamping import StampingVisitor, stamps_of

__all__ = ["chain"]


@Signature.register_type()
class chain(Composition):  # noqa: N801 - Celery's name
    """Tasks one after the other, each called with what the one before returned.

    ``chain(a, b, c)`` is ``a | b | c``: a group that something follows becomes a chord. So what
    this makes is a chord, where it begins with a group.

    >>> from umbel.canvas.signature import signature
    >>> chain(signature("a"), signature("b", args=(1,)))
    a() | b(1)
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        """A chain of tasks, or of the tasks in one iterable; with options, of just these."""
        app: Sender | None = options.pop("app", None)
        options.pop("use_link", None)
        is_one = len(tasks) == 1 and is_mapping(tasks[0])
        if len(tasks) == 1 and not is_one:
            tasks = tuple(tasks[0])
        signatures = [maybe_signature(part("chain", task), app=app) for task in tasks]
        if is_one or options:
            for each in signatures:
                settle(each)
            return cls.of(signatures, options, app)
        # As with Celery: what comes last is in the chain as it was passed.
        copies = (each if is_unread(each) else each.clone() for each in signatures[:-1])
        steps = _joined([*copies, *signatures[-1:]])
        if len(steps) == 1 and signatures and isinstance(_first(signatures), group):
            return steps[0]
        return cls.of(steps, {}, app)

    def __init__(self, *tasks: Any, **options: Any) -> None:
        """Nothing: what ``chain(...)`` makes need not be a chain."""

    @classmethod
    def of(cls, steps: list[Any], options: Mapping[str, Any], app: Sender | None = None) -> chain:
        """A chain of just these steps."""
        made: chain = dict.__new__(cls)
        Signature.__init__(
            made,
            "celery.chain",
            (),
            {"tasks": steps},
            dict(options),
            subtask_type="chain",
            app=app,
        )
        return made

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> chain:
        """The chain that ``d`` is the form of."""
        tasks = [maybe_signature(task, app=app) for task in d["kwargs"].get("tasks") or ()]
        made = cls.of(tasks, {}, app)
        made.update({**d, "kwargs": {**d["kwargs"], "tasks": tasks}})
        return made

    @classmethod
    def join(cls, left: Signature, right: Signature) -> Signature:
        """What ``left | right`` is."""
        if isinstance(left, group):
            return left if _is_empty(right) else chord(left, right, app=left.own_app())
        if not isinstance(left, chain):
            steps = _joined([left.clone(), right])
            if isinstance(left, chord) and len(steps) == 1:
                made: Signature = steps[0]
                return made
            return cls.of(steps, {}, _app_of(left))
        if not left.tasks:
            return right if isinstance(right, group | chain) else cls.of([right], {})
        rest = {k: v for k, v in left.options.items() if k not in ("link", "link_error")}
        return type(left).of(_joined([*left.unchain_tasks(), right]), rest, left.own_app())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it; see :meth:`apply_async`."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def unchain_tasks(self) -> list[Any]:
        """Copies of its tasks, with the chain's callbacks at the last, its error callbacks at
        each."""
        tasks: list[Any] = [maybe_signature(task, app=self._app).clone() for task in self.tasks]
        for callback in listed(self.options.get("link")):
            tasks[-1].link(callback)
        for errback in listed(self.options.get("link_error")):
            for task in tasks:
                task.link_error(errback)
        return tasks

    def clone(self, args: Iterable[Any] | None = None, kwargs: Any = None, **opts: Any) -> chain:
        """A copy, down to its tasks."""
        copy = super().clone(args, kwargs, **opts)
        copy.tasks = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]
        return copy

    partial = clone

    def fix_ids(self, end: str | None = None) -> None:
        """Give an id to every task in it; it is known by the one that it ends in."""
        tasks = self.tasks = [maybe_signature(task, app=self._app) for task in self.tasks]
        for task in tasks[:-1]:
            task.fix_ids()
        for task in tasks[-1:]:
            task.fix_ids(self.options.get("task_id") or end)
            self.options["task_id"] = task.end_id

    @property
    def end_id(self) -> str | None:
        """The id of the task that it ends in."""
        return self.tasks[-1].end_id if self.tasks else None

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> chain:
        """Put stamps on each task and its links; returns itself."""
        found = visitor.on_chain_start(self, **headers) if visitor is not None else None
        stamps = stamps_of(headers, found, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        tasks = self.tasks = [maybe_signature(task, app=self._app) for task in self.tasks]
        for task in tasks:
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            visitor.on_chain_end(self, **stamps)
        return self

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return " | ".join(repr(task) for task in self.tasks)


def _joined(tasks: list[Any]) -> list[Any]:
    """The steps of ``tasks[0] | tasks[1] | …``."""
    steps: list[Any] = []
    for task in tasks:
        _append(steps, task)
    return steps


def _append(steps: list[Any], other: Any) -> None:
    if not isinstance(other, Signature):
        msg = f"{other!r:.100} is not a signature; call .s() of a task to make one."
        raise TypeError(msg)
    if isinstance(other, group):
        other = other.unrolled()
    if isinstance(other, chain):
        for task in other.unchain_tasks():
            _append(steps, task)
        return
    last = steps[-1] if steps else None
    if steps:
        settle(other)
    if _is_empty(other):
        return
    if isinstance(last, group) and not isinstance(other, group):
        steps[-1] = chord(last, other, app=last.own_app())
    elif isinstance(last, chord) and not isinstance(other, chord):
        steps[-1] = last.followed_by(other)
    else:
        steps.append(other)


def _first(signatures: list[Any]) -> Any:
    """What the first step is made of: groups of none are left out, those of one are unrolled."""
    for each in signatures:
        if not _is_empty(each):
            return each.unrolled() if isinstance(each, group) else each
    return None


def _is_empty(other: Any) -> bool:
    return isinstance(other, group) and not other.tasks


def _app_of(signature: Signature) -> Sender | None:
    if isinstance(signature, Composition):
        return signature.own_app()
    return signature.bound_app()
