"""Running a plan here and now: ``apply`` and ``task_always_eager``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel.canvas.outcomes import group_result
from umbel.canvas.plan import Call, Chain, Chord, Group, Node
from umbel.canvas.sender import Sender
from umbel.canvas.signature import signature
from umbel.result import GroupResult
from umbel.states import SUCCESS

__all__ = ["run"]


def run(node: Node, args: Sequence[Any], kwargs: Mapping[str, Any], app: Sender) -> Any:
    """Run a node, one task after the other; returns its finished result.

    Raises:
        Exception: What a task raised whose value another one needs.
    """
    match node:
        case Call(plain):
            return signature(dict(plain), app=app).apply(args, kwargs)
        case Chain(steps):
            result = run(steps[0], args, kwargs, app)
            for step in steps[1:]:
                if not isinstance(result, GroupResult) and _has_no_value(result):
                    break
                following = run(step, (result.get(),), {}, app)
                _first(following).parent = result
                result = following
            return result
        case Group(id_, members):
            return group_result(id_, [run(each, args, kwargs, app) for each in members], app)
        case Chord(id_, header, body):
            results = [run(each, args, kwargs, app) for each in header]
            group = GroupResult(id_, results, app=app)
            result = run(body, (group.get(),), {}, app)
            _first(result).parent = group
            return result


def _has_no_value(result: Any) -> bool:
    """Whether the task has ended without one, and without an error: nothing comes after it."""
    return result.state != SUCCESS and not isinstance(result.result, Exception)


def _first(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result
