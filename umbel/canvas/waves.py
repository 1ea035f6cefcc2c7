"""What of a plan is sent now, and the form in which the rest travels along. Pure.

The first wave of a chain is its first step, which takes the others along; of a group, its members;
of a chord, the members of its header, each with the body. A member takes no sibling along, and a
body no header: messages grow with the depth of a workflow and not with its width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from umbel.canvas import plan
from umbel.canvas.plan import Call, Chain, Chord, Group, Node, ends, listed
from umbel.model import Expected
from umbel.wire import chords

__all__ = ["Step", "first_wave", "render"]

Options = Mapping[str, Any]
_NOTHING: Options = {}


class Step(msgspec.Struct, frozen=True):
    """One call to make."""

    signature: Mapping[str, Any]
    """Complete: keyword arguments and options as they are to be sent."""
    args: tuple[Any, ...]
    """All positional arguments."""


def first_wave(
    node: Node,
    args: Sequence[object] = (),
    kwargs: Options = _NOTHING,
    *,
    context: Options = _NOTHING,
    end: Options = _NOTHING,
    rest: Sequence[Any] = (),
) -> Iterator[Step | Expected]:
    """The calls to make now, one by one; before the first member of a chord, how many it has, or
    that nobody knows; then before the last.

    Args:
        args: Go before the arguments of what comes first.
        context: ``root_id`` and ``parent_id``.
        end: Where the task that it ends in stands: ``group_id``, ``group_index``, ``chord``.
        rest: What is chained behind it, in reverse.
    """
    match node:
        case Call(signature):
            yield _step(signature, args, kwargs, context, end, rest)
        case Chain(steps):
            later = [*rest, *_later(steps, end)]
            yield from first_wave(steps[0], args, kwargs, context=context, rest=later)
        case Group(id_, members):
            if rest:
                # Whatever follows a group waits for all of it.
                node = Chord(id_, members, _chained(rest, id_))
                yield from first_wave(node, args, kwargs, context=context, end=end)
                return
            place = end if "chord" in end else {"group_id": id_}
            for index, member in enumerate(members):
                place = {**place, "group_index": index}
                yield from first_wave(member, args, kwargs, context=context, end=place)
        case Chord(id_, header, body):
            yield from _chord_wave(id_, header, body, args, kwargs, context, end, rest)


def _chord_wave(
    id_: str,
    header: Iterable[Node],
    body: Node,
    args: Sequence[object],
    kwargs: Options,
    context: Options,
    end: Options,
    rest: Sequence[Any],
) -> Iterator[Step | Expected]:
    size = sum(map(ends, header)) if isinstance(header, tuple) else 0
    is_known = size > 0
    members = iter(header)
    member = next(members, None)
    if member is None:
        yield from first_wave(body, ([],), context=context, end=end, rest=rest)
        return
    then = render(body, end, rest)
    # Before the first: a member that finds nothing there knows that it has been lost.
    yield chords.expected(then, chord_id=id_, size=size, root_id=context.get("root_id"))
    place: dict[str, Any] = {"group_id": id_, "chord": chords.marked(then, id_)}
    index = 0
    while member is not None:
        following = next(members, None)
        if not is_known:
            size += ends(member)
            if following is None:
                # Before the last: the chord cannot be full without it.
                yield Expected(id_, size)
        place = {**place, "group_index": index}
        yield from first_wave(member, args, kwargs, context=context, end=place)
        member, index = following, index + 1


def _step(
    signature: Mapping[str, Any],
    args: Sequence[object],
    kwargs: Options,
    context: Options,
    end: Options,
    rest: Sequence[Any],
) -> Step:
    positional = tuple(signature.get("args") or ())
    own = signature.get("kwargs") or _NOTHING
    if not signature.get("immutable"):
        positional = (*args, *positional)
        own = {**own, **kwargs} if kwargs else own
    options = placed({**signature["options"], **context}, end, rest)
    return Step({**signature, "kwargs": own, "options": options}, positional)


def placed(options: dict[str, Any], end: Options, rest: Sequence[Any]) -> dict[str, Any]:
    """The options of a task that ends something, and has something chained behind it.

    A task that has been frozen as a member of a group stays there.
    """
    place = {**end, **{name: options[name] for name in _STAYING if options.get(name) is not None}}
    options = {**options, **place}
    if rest:
        options["chain"] = [*rest, *listed(options.get("chain"))]
    return options


_STAYING = ("group_id", "group_index")


def render(node: Node, end: Options = _NOTHING, rest: Sequence[Any] = ()) -> dict[str, Any]:
    """The signature that ``node`` travels as, until its turn comes.

    Args:
        end: As for :func:`first_wave`.
        rest: What is chained behind it, in reverse.
    """
    match node:
        case Call(signature):
            return {**signature, "options": placed(signature["options"], end, rest)}
        case Chain(steps):
            # As its first step, which takes the others along: as a task's message has it.
            return render(steps[0], rest=[*rest, *_later(steps, end)])
        case Group(id_, members):
            if rest:
                return render(Chord(id_, tuple(members), _chained(rest, id_)), end)
            options = {**end, "task_id": id_}
            return _composed("group", {"tasks": [_member(each) for each in members]}, options)
        case Chord(id_, header, body):
            return _chord(id_, header, body, end, rest)


def _chord(
    id_: str, header: Iterable[Node], body: Node, end: Options, rest: Sequence[Any]
) -> dict[str, Any]:
    """A chord on its way. What is chained behind it would take the place of what its body has
    chained behind itself (as in :func:`_spread`), so it goes where there is nothing yet."""
    if rest and isinstance(body, Chain):
        first, *_ = body.steps
        return _chord(id_, header, first, end, [*rest, *_later(body.steps, _NOTHING)])
    if rest and isinstance(body, Chord):
        then, behind = render(body, end, rest), _NOTHING
    else:
        then, behind = render(body, end), {"chain": [*rest]} if rest else _NOTHING
    kwargs = {"kwargs": {}, "header": [_member(each) for each in header], "body": then}
    return _composed("chord", kwargs, {"task_id": id_, **behind})


def _member(node: Node) -> dict[str, Any]:
    """A member of a group, on its way; a chain as such, so that its end can be found."""
    if isinstance(node, Chain):
        return _composed("chain", {"tasks": [render(step) for step in node.steps]}, {})
    return render(node)


def _later(steps: Sequence[Node], end: Options) -> list[dict[str, Any]]:
    """All steps but the first, in reverse; the last stands where the chain does."""
    *between, last = [each for step in steps[1:] for each in _spread(step)]
    return [render(last, end), *(render(step) for step in reversed(between))]


def _spread(step: Node) -> Sequence[Node]:
    """A step; a chord whose body is a chain as one that ends in the first link, and the others.

    Celery's workers hand what is chained behind a chord to its body, in place of what the body
    itself has chained behind it.
    """
    if isinstance(step, Chord) and isinstance(step.body, Chain):
        first, *others = step.body.steps
        return Chord(step.id, step.header, first), *others
    return (step,)


def _composed(kind: str, kwargs: Options, options: Options) -> dict[str, Any]:
    return {
        "task": f"celery.{kind}",
        "args": (),
        "kwargs": kwargs,
        "options": options,
        "subtask_type": kind,
        "immutable": False,
    }


def _chained(rest: Sequence[Any], seed: str) -> Node:
    """What is chained behind something, as one node."""
    kwargs = {"tasks": [*reversed(rest)]}
    chain = {"task": "celery.chain", "kwargs": kwargs, "subtask_type": "chain"}
    node = plan.compile(chain, plan.Rules(plan.ids_after(f"{seed}:rest")))
    assert node is not None  # there is a rest
    return node
