"""What comes after a task: callbacks, the next link of a chain, error callbacks. Pure.

A signature travels as a dict; what is to be called is a :class:`Step`: a signature complete with
the arguments and options of this call, ready to be routed and encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from umbel.exceptions import InvalidTaskError

__all__ = ["Step", "after_failure", "after_success", "call", "listed"]

_LATER = {"group": "groups", "chord": "chords", "chunks": "chunks"}


class Step(msgspec.Struct, frozen=True):
    """One call to make."""

    signature: Mapping[str, Any]
    """Complete: keyword arguments and options as they are to be sent."""
    args: tuple[Any, ...]
    """All positional arguments."""


def after_success(
    value: object,
    *,
    id: str,
    root_id: str | None,
    callbacks: Sequence[Any] | None,
    chain: Sequence[Any] | None,
) -> list[Step]:
    """The calls that follow a task that returned ``value``: its callbacks, then the next link.

    Args:
        chain: The links to come in reverse: the last one is next, and takes the others along.

    Raises:
        InvalidTaskError: One of them is not a signature, or of a kind that cannot be started.
    """
    context = {"root_id": root_id or id, "parent_id": id}
    steps = [step for callback in callbacks or () for step in call(callback, (value,), context)]
    if chain:
        steps += call(chain[-1], (value,), context, rest=chain[:-1])
    return steps


def after_failure(
    *,
    id: str,
    root_id: str | None,
    errbacks: Iterable[Any] | None,
) -> list[Step]:
    """The calls that follow a task that failed: its error callbacks, with the task's id.

    Raises:
        InvalidTaskError: As for :func:`after_success`.
    """
    context = {"root_id": root_id or id, "parent_id": id}
    return [step for errback in errbacks or () for step in call(errback, (id,), context)]


def call(
    signature: Any,
    args: Sequence[object],
    options: Mapping[str, object],
    *,
    rest: Sequence[Any] = (),
) -> list[Step]:
    """The calls that starting ``signature`` comes to, with ``args`` before its own arguments.

    Args:
        options: More options, which win over the signature's own.
        rest: What is chained behind it, in reverse.
    """
    plain = _checked(signature)
    own: Mapping[str, Any] = plain.get("options") or {}
    if plain.get("subtask_type") == "chain":
        return _start_chain(plain, own, args, options, rest)
    if (kind := plain.get("subtask_type")) in _LATER:
        msg = (
            f"Cannot start {plain['task']!r}: {_LATER[kind]} come with the workflows release of "
            "umbel. Call the tasks one by one, or send this from a task."
        )
        raise InvalidTaskError(msg)
    merged: dict[str, Any] = {**own, **options}
    if rest:
        merged["chain"] = [*rest]
    positional = tuple(plain.get("args") or ())
    if not plain.get("immutable"):
        positional = (*args, *positional)
    return [Step({**plain, "options": merged}, positional)]


def _start_chain(
    signature: Mapping[str, Any],
    own: Mapping[str, Any],
    args: Sequence[object],
    options: Mapping[str, object],
    rest: Sequence[Any],
) -> list[Step]:
    kwargs: Mapping[str, Any] = signature.get("kwargs") or {}
    tasks: list[Mapping[str, Any]] = [_checked(task) for task in kwargs.get("tasks") or ()]
    if not tasks:
        return []
    # The options of a chain are about its end (who is called back, under which id the result is
    # found); only error callbacks are about every link.
    last = tasks[-1]
    ends = {name: own[name] for name in ("task_id", "link", "chord", "group_id") if own.get(name)}
    tasks[-1] = {**last, "options": {**(last.get("options") or {}), **ends}}
    if errbacks := own.get("link_error"):
        tasks = [_with_errbacks(task, errbacks) for task in tasks]
    if signature.get("immutable"):
        args = ()
    head = tasks[0]
    return call(head, args, options, rest=[*rest, *reversed(tasks[1:])])


def _with_errbacks(signature: Mapping[str, Any], errbacks: Any) -> Mapping[str, Any]:
    options: dict[str, Any] = {**(signature.get("options") or {})}
    options["link_error"] = [*listed(options.get("link_error")), *listed(errbacks)]
    return {**signature, "options": options}


def listed(value: Any) -> list[Any]:
    """What may be nothing, one signature or several, as a new list."""
    if value is None:
        return []
    return [*value] if isinstance(value, list | tuple) else [value]


def _checked(signature: Any) -> Mapping[str, Any]:
    if isinstance(signature, Mapping):
        found: Mapping[str, Any] = signature  # pyright: ignore[reportUnknownVariableType] - user values
        if isinstance(found.get("task"), str):
            return found
    msg = f"{signature!r:.200} is not a signature, which is a mapping with the name of a 'task'."
    raise InvalidTaskError(msg)
