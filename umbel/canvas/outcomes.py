"""The results that a plan will have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from umbel.canvas.plan import Call, Chain, Chord, Group, Node
from umbel.result import AsyncResult, GroupResult
from umbel.result.base import ResultBase
from umbel.result.waiting import ResultSource

__all__ = ["beginning", "group_result", "result_of"]


def result_of(
    node: Node, app: ResultSource, members: Sequence[ResultBase] | None = None
) -> ResultBase:
    """The result of a node: of a chain or chord, of the task that it ends in, with what comes
    before as its parents.

    Args:
        members: The results of the node's members, where these can be read only once.
    """
    match node:
        case Call(signature):
            result: AsyncResult[Any] = AsyncResult(node.id, None, signature["task"], app)
            result.ignored = bool(signature["options"].get("ignore_result"))
            return result
        case Chain(steps):
            last = result_of(steps[0], app)
            for step in steps[1:]:
                last = _after(result_of(step, app), last)
            return last
        case Group():
            return _group(node.id, node.members, app, members)
        case Chord(id_, header, body):
            return _after(result_of(body, app), _group(id_, header, app, members))


def beginning(result: ResultBase) -> Any:
    """The result of what starts first."""
    return [result, *result.lineage()][-1]


def _group(
    id_: str, nodes: Iterable[Node], app: ResultSource, members: Sequence[ResultBase] | None
) -> GroupResult:
    if isinstance(nodes, tuple):
        known: tuple[Node, ...] = nodes
        members = [result_of(node, app) for node in known]
    return group_result(id_, members or (), app)


def group_result(id_: str, members: Sequence[ResultBase], app: ResultSource) -> GroupResult:
    """The result of a group."""
    found = GroupResult(id_, [*members], app=app)
    # A group of one chain that ends in a group is that group.
    if len(found) == 1 and isinstance(found[0], GroupResult):
        return found[0]
    return found


def _after(result: ResultBase, before: ResultBase) -> ResultBase:
    beginning(result).parent = before
    return result
