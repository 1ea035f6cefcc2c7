"""What comes after a task: callbacks, the next link of a chain, error callbacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from umbel.canvas import plan
from umbel.canvas.plan import Call, Chain, Chord, Group, Node, checked, ids_after, kind_of, overlay
from umbel.canvas.waves import Step, first_wave
from umbel.model import Expected

__all__ = ["NOTHING", "Step", "Wave", "after_failure", "after_success", "start"]

_COMPOSED = frozenset({"chain", "group", "chord", "chunks"})


class Wave(msgspec.Struct, frozen=True):
    """What to send now."""

    steps: tuple[Step, ...] = ()
    expect: tuple[Expected, ...] = ()
    """The chords that start with it."""
    children: tuple[Any, ...] = ()
    """The result tuples of what starts: ``[[id, parent], members]``."""


NOTHING = Wave()


def after_success(
    value: object,
    *,
    id: str,
    root_id: str | None,
    callbacks: Sequence[Any] | None,
    chain: Sequence[Any] | None,
) -> Wave:
    """The calls that follow a task that returned ``value``: its callbacks, then the next link.

    Args:
        chain: The links to come in reverse: the last one is next, and takes the others along.

    Raises:
        InvalidTaskError: One of them is not a signature.
    """
    new_id, context = ids_after(id), _context(id, root_id)
    waves = [start(callback, (value,), context, new_id) for callback in callbacks or ()]
    if chain:
        waves.append(start(chain[-1], (value,), context, new_id, rest=chain[:-1]))
    return _together(waves)


def after_failure(*, id: str, root_id: str | None, errbacks: Iterable[Any] | None) -> Wave:
    """The calls that follow a task that failed: its error callbacks, with the task's id.

    Raises:
        InvalidTaskError: As for :func:`after_success`.
    """
    new_id, context = ids_after(f"{id}:failed"), _context(id, root_id)
    return _together([start(errback, (id,), context, new_id) for errback in errbacks or ()])


def start(
    signature: Any,
    args: Sequence[object],
    context: Mapping[str, Any],
    new_id: plan.NewId,
    *,
    rest: Sequence[Any] = (),
) -> Wave:
    """The calls that starting ``signature`` comes to, with ``args`` before its own arguments.

    Args:
        context: More options, which win over the signature's own.
        new_id: Gives ids to what has none yet.
        rest: What is chained behind it, in reverse.

    Raises:
        InvalidTaskError: Something in it is not a signature.
    """
    plain = checked(signature)
    if kind_of(plain) not in _COMPOSED:
        return _single(plain, args, context, new_id, rest)
    node = plan.compile(plain, plan.Rules(new_id))
    if node is None:
        return NOTHING
    steps: list[Step] = []
    expect: list[Expected] = []
    for item in first_wave(node, args, context=context, rest=rest):
        if isinstance(item, Step):
            steps.append(item)
        else:
            expect.append(item)
    return Wave(tuple(steps), tuple(expect), (_child(node),))


def _single(
    plain: Mapping[str, Any],
    args: Sequence[object],
    context: Mapping[str, Any],
    new_id: plan.NewId,
    rest: Sequence[Any],
) -> Wave:
    """:func:`start` for a plain task, of which almost all follow-ups are."""
    options = overlay(plain.get("options") or {}, context)
    task_id = options["task_id"] = options.get("task_id") or new_id()
    if rest:
        options["chain"] = [*rest, *(options.get("chain") or ())]
    positional = tuple(plain.get("args") or ())
    if not plain.get("immutable"):
        positional = (*args, *positional)
    step = Step({**plain, "options": options}, positional)
    return Wave((step,), (), (((task_id, None), None),))


def _child(node: Node) -> Any:
    """The result tuple of what of ``node`` starts now."""
    match node:
        case Call():
            return (node.id, None), None
        case Chain(steps):
            return _child(steps[0])
        case Group(id_, members) | Chord(id_, members):
            return (id_, None), [_end(member) for member in members]


def _end(node: Node) -> Any:
    """The result tuple of what ``node`` ends in."""
    match node:
        case Call():
            return (node.id, None), None
        case Chain(steps):
            return _end(steps[-1])
        case Chord(_, _, body):
            return _end(body)
        case Group(id_, members):
            return (id_, None), [_end(member) for member in members]


def _together(waves: Sequence[Wave]) -> Wave:
    if len(waves) == 1:
        return waves[0]
    return Wave(
        tuple(step for wave in waves for step in wave.steps),
        tuple(each for wave in waves for each in wave.expect),
        tuple(child for wave in waves for child in wave.children),
    )


def _context(id: str, root_id: str | None) -> dict[str, Any]:
    return {"root_id": root_id or id, "parent_id": id}
