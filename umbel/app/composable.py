"""The part of a task that makes signatures, and puts other tasks in its own place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app.handled import Handled
from umbel.canvas.chains import chain
from umbel.canvas.chords import chord
from umbel.canvas.groups import group
from umbel.canvas.maps import chunks, xmap, xstarmap
from umbel.canvas.plan import listed
from umbel.canvas.signature import Signature, maybe_signature, signature
from umbel.exceptions import Ignore, ImproperlyConfigured
from umbel.execution import context, replacing

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.execution.context import Context

__all__ = ["Composable"]


class Composable(Handled):
    """Signatures of a task, and what it does to the workflow that it is part of."""

    name: str

    @property
    def app(self) -> Umbel:
        """The app it is registered with."""
        raise NotImplementedError

    @property
    def request(self) -> Context:
        """The call that is running."""
        raise NotImplementedError

    # -- signatures

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature: the call as a value, to be completed, linked and sent later."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """An immutable signature: it takes no more arguments."""
        return self.signature(args, kwargs, immutable=True)

    def signature(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> Signature:
        """A signature with options, for example ``countdown=10``."""
        return Signature(self.name, args, kwargs, options, app=self.app, **extra)

    subtask = signature

    def map(self, it: Iterable[Any]) -> xmap:
        """A signature that calls the task with each item, in one message."""
        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> xstarmap:
        """A signature that calls the task with each item as its arguments, in one message."""
        return xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """A signature that calls the task with each item as its arguments, ``n`` to a message."""
        return chunks(self.s(), it, n, app=self.app)

    # -- the workflow that it runs in

    def replace(self, sig: Any) -> Any:
        """Have another task, or a whole workflow, take this one's place: its id, its callbacks,
        its chord, and what is chained behind it. What follows this call does not run; write
        ``raise self.replace(sig)`` or ``return self.replace(sig)``.

        Raises:
            Ignore: Always, except in eager mode, which returns the value of ``sig``.
            ImproperlyConfigured: ``sig`` is a member of a chord, or an empty chain.
        """
        sig = maybe_signature(sig, app=self.app)
        if "chord" in sig.options:
            raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
        if isinstance(sig, chain) and not sig.tasks:
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        request = self.request
        sig = _gathered(sig.clone(), self.app)
        nesting = request.replaced_task_nesting + 1
        for callback in listed(request.callbacks):
            sig.options["link"] = [*listed(sig.options.get("link")), callback]
        for errback in listed(request.errbacks):
            sig.options["link_error"] = [*listed(sig.options.get("link_error")), errback]
        _stamp(sig, request)
        # Only that: the others follow from it, so that another run of this one makes the same.
        if sig.end_id is None:
            sig.options["task_id"] = request.id
        place = {
            "chord": request.chord,
            "group_id": request.group,
            "group_index": request.group_index,
        }
        sig.options.update({name: value for name, value in place.items() if value is not None})
        if request.root_id:
            sig.options["root_id"] = request.root_id
        for task in sig.tasks if isinstance(sig, chain) else [sig]:
            task.set(replaced_task_nesting=nesting)
        if request.chain:
            rest = [signature(link, app=self.app) for link in reversed(request.chain)]
            for link in rest:
                link.set(replaced_task_nesting=nesting)
            sig = chain.of([sig, *rest], {}, self.app)
        return self.on_replace(sig)

    def on_replace(self, sig: Any) -> Any:
        """Called with what takes the task's place; to be overridden, and called by what does.

        Raises:
            Ignore: Always, except in eager mode.
        """
        if self.request.is_eager:
            return sig.apply().get()
        run = context.current()
        if run is None or run.context is not self.request:
            # A request pushed by hand: nobody sees to its outcome.
            sig.delay()
        else:
            replacing.replace(run, sig)
        raise Ignore("Replaced by new task")

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Make ``sig`` one more member of the chord that the running task is a member of.

        Args:
            lazy: Whether to return the signature, to be sent later, instead of its result.

        Raises:
            ValueError: The task is no member of a chord.
        """
        request = self.request
        if not request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(
            group_id=request.group,
            group_index=request.group_index,
            chord=request.chord,
            root_id=request.root_id,
        )
        sig.freeze()
        self.app.portal.call(_enlarge, self.app, request.group, sig.end_id)
        return sig if lazy else sig.delay()


async def _enlarge(app: Umbel, chord_id: str, task_id: str) -> None:
    await (await app.connections.backend()).enlarge({chord_id: [task_id]})


def _gathered(sig: Any, app: Umbel) -> Any:
    """A signature that ends in one task, which can have the id of the one that it replaces."""
    if not _ends_in_group(sig):
        return sig
    gathered = sig | app.tasks["celery.accumulate"].s(index=0)
    # What a chain was called with is no part of its steps.
    return gathered.clone(sig.args) if isinstance(sig, chain) and sig.args else gathered


def _ends_in_group(sig: Any) -> bool:
    if isinstance(sig, chain):
        return _ends_in_group(sig.tasks[-1])
    if isinstance(sig, chord) and sig.body is not None:
        return _ends_in_group(sig.body)
    return isinstance(sig, group | chord)


def _stamp(sig: Any, request: Context) -> None:
    """The stamps of a task go on to what replaces it, without taking the place of others."""
    stamps = {
        name: value
        for name, value in (request.stamps or {}).items()
        if name in (request.stamped_headers or ())
    }
    if stamps:
        sig.stamp(**stamps)
