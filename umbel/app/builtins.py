"""The tasks that every app has.

Source:
    Celery reference, ``celery.app.builtins``: names, arguments, values. Workflows need two of
    them, ``accumulate`` and the maps; the others run messages that Celery sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app.unlocking import UnlockChord
from umbel.canvas.chords import chord
from umbel.canvas.groups import group
from umbel.canvas.maps import chunks
from umbel.canvas.signature import maybe_signature, signature
from umbel.execution.errbacks import LATER, call_later

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["add_builtin_tasks"]

_PRUNE_AT_ONCE = 1000


def add_builtin_tasks(app: Umbel) -> None:
    """Register them."""

    def backend_cleanup() -> int:
        """Delete results that have expired; returns how many."""
        return app.portal.call(_clean_up, app)

    functions = {"celery.backend_cleanup": backend_cleanup, **_calling(app), **_sending(app)}
    for name, function in functions.items():
        app.task_from_function(function, name=name)
    app.register_task(UnlockChord(app))


def _calling(app: Umbel) -> dict[str, Callable[..., Any]]:
    """The tasks that call others here and now."""

    def accumulate(*args: Any, **kwargs: Any) -> Any:
        """Its arguments, or the one at ``index``."""
        index: int | None = kwargs.get("index")
        return args if index is None else args[index]

    def xmap(task: Any, it: Iterable[Any]) -> list[Any]:
        """What a task gives for each item."""
        return _call_each(app, task, ((item,) for item in it))

    def xstarmap(task: Any, it: Iterable[Sequence[Any]]) -> list[Any]:
        """What a task gives for each item, which is all of its arguments."""
        return _call_each(app, task, it)

    def call_errback(
        errback: Mapping[str, Any], request: Mapping[str, Any], error: Any, traceback: str | None
    ) -> None:
        """Call an error callback for a task that has failed without running."""
        call_later(app.tasks, errback, request, error, traceback)

    return {
        "celery.accumulate": accumulate,
        "celery.map": xmap,
        "celery.starmap": xstarmap,
        LATER: call_errback,
    }


def _sending(app: Umbel) -> dict[str, Callable[..., Any]]:
    """The tasks that send others."""

    def send_chunks(task: Any, it: Iterable[Any], n: int) -> Any:
        """Send portions; returns the tuple of their result."""
        return chunks(maybe_signature(task, app=app), it, n, app=app).apply_async().as_tuple()

    def send_group(
        tasks: Iterable[Any],
        result: Any,
        group_id: str,
        partial_args: Sequence[Any],
        add_to_parent: bool = True,
    ) -> Any:
        """Send a group; returns the tuple of its result."""
        members = group([maybe_signature(task, app=app) for task in tasks], app=app)
        members.set(task_id=group_id)
        members.apply_async(partial_args, add_to_parent=add_to_parent)
        return result

    def send_chord(header: Any, body: Any, partial_args: Sequence[Any] = (), **options: Any) -> Any:
        """Send a chord; returns the tuple of its result."""
        given = {k: v for k, v in options.items() if k not in _OF_POLLING}
        whole = chord(header, maybe_signature(body, app=app), app=app)
        return whole.apply_async(partial_args, **given).as_tuple()

    def no_task(*args: Any, **kwargs: Any) -> Any:
        """Raises: NotImplementedError: a chain is sent as its first task."""
        raise NotImplementedError("chain is not a real task")

    return {
        "celery.chunks": send_chunks,
        "celery.group": send_group,
        "celery.chord": send_chord,
        "celery.chain": no_task,
    }


_OF_POLLING = frozenset({"interval", "countdown", "max_retries", "eager"})
"""What Celery tells ``celery.chord`` about waiting for the header."""


def _call_each(app: Umbel, task: Any, calls: Iterable[Sequence[Any]]) -> list[Any]:
    """Call a task here and now, as a function, once for each of some arguments."""
    found: Any = signature(task, app=app).type
    if not found.is_coroutine:
        return [found(*args) for args in calls]
    # Only for ``async def`` tasks, and only in workers.
    from umbel.execution.coroutines import Loops

    loops = Loops(app.tools.farewell)
    try:
        return [loops.drive(found(*args)) for args in calls]
    finally:
        loops.close()


async def _clean_up(app: Umbel) -> int:
    backend = await app.connections.backend()
    before = app.wall_clock.time()
    total = 0
    while True:
        count = await backend.prune(before=before, limit=_PRUNE_AT_ONCE)
        total += count
        if count < _PRUNE_AT_ONCE:
            return total
