"""Workflows as plain descriptions: built as signatures, and interpreted without any of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from umbel import chain, chord, group

Tree = dict[str, Any]
"""JSON, so that a task can be sent one: ``kind``, and what the kind needs."""


@dataclass(frozen=True)
class Failed(Exception):
    """A part of a tree fails; with one of these tags, whichever is seen first."""

    tags: frozenset[str]


def digest(tag: str, args: Sequence[Any]) -> str:
    """What the task ``tag`` returns: short, and different for all other arguments."""
    text = json.dumps([tag, args])
    return f"{tag}-{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:6]}"


# -- making them

_tags = st.integers(0, 999).map(lambda number: f"t{number}")


def _tasks(failing: bool) -> st.SearchStrategy[Tree]:
    fails = st.sampled_from([False] * 9 + [True]) if failing else st.just(False)
    return st.fixed_dictionaries(
        {
            "kind": st.just("task"),
            "tag": _tags,
            "fails": fails,
            "immutable": st.booleans(),
            "ignores": st.just(False),
        }
    )


def trees(*, depth: int = 6, failing: bool = True) -> st.SearchStrategy[Tree]:
    """Workflows of all kinds, at most ``depth`` deep."""
    inner = _tasks(failing)
    for _ in range(depth - 1):
        inner = st.one_of(inner, _compositions(inner))
    return _compositions(inner)


def _compositions(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"kind": st.just("chain"), "parts": several}),
        st.fixed_dictionaries({"kind": st.just("group"), "parts": several}),
        st.fixed_dictionaries({"kind": st.just("chord"), "parts": several, "body": inner}),
        st.fixed_dictionaries({"kind": st.just("replaced"), "by": inner}),
    )


def size(tree: Tree) -> int:
    """How many tasks there are in it, at most."""
    parts = [*tree.get("parts", ()), *(tree[name] for name in ("body", "by") if name in tree)]
    return 1 + sum(map(size, parts))


# -- building them


def build(tree: Tree, tasks: Any) -> Any:
    """The signature of a tree. ``tasks`` has the tasks ``leaf`` and ``swap``."""
    match tree["kind"]:
        case "task":
            options = {"immutable": tree["immutable"]}
            kwargs = {"tag": tree["tag"], "fails": tree["fails"]}
            return tasks.leaf.signature((), kwargs, **options)
        case "chain":
            return chain(*(build(part, tasks) for part in tree["parts"]))
        case "group":
            return group([build(part, tasks) for part in tree["parts"]])
        case "chord":
            header = [build(part, tasks) for part in tree["parts"]]
            return chord(header, build(tree["body"], tasks))
        case _:
            return tasks.swap.s(tree=tree["by"])


# -- what they come to


def interpret(tree: Tree) -> Any:
    """What waiting for the tree gives.

    Raises:
        Failed: It fails.
    """
    value = _value(tree, [])
    return value.plain() if isinstance(value, _Group) else value


class _Group(list[Any]):
    """The values of a group that nothing follows; members may be such groups."""

    def plain(self) -> list[Any]:
        # A group of one group is that group, where results are concerned.
        if len(self) == 1 and isinstance(self[0], _Group):
            return self[0].plain()
        return [part.plain() if isinstance(part, _Group) else part for part in self]


def _value(tree: Tree, args: list[Any]) -> Any:
    match tree["kind"]:
        case "task":
            if tree["fails"]:
                raise Failed(frozenset({tree["tag"]}))
            return digest(tree["tag"], [] if tree["immutable"] else args)
        case "chain":
            return _chain_value(_steps(tree), args)
        case "group":
            return _Group(_each([lambda t=t: _value(t, args) for t in _members(tree)]))
        case "chord":
            return _body(tree["body"], _header(tree["parts"], args))
        case _:
            by = tree["by"]
            if by["kind"] == "group":
                return _header([by], args)
            value = _value(by, args)
            return _gathered(value)


def _chain_value(steps: list[Tree], args: list[Any]) -> Any:
    value: Any = None
    for number, step in enumerate(steps):
        is_last = number == len(steps) - 1
        if step["kind"] == "group" and not is_last:
            value = _header([step], args)
        else:
            value = _value(step, args)
        if not is_last:
            value = _gathered(value)
        args = [value]
    return value


def _steps(tree: Tree) -> list[Tree]:
    """The steps of a chain: chains in it are part of it, and so is the member of a group of one."""
    steps: list[Tree] = []
    for part in tree["parts"]:
        step = part
        while step["kind"] == "group" and len(step["parts"]) == 1:
            [step] = step["parts"]
        steps += _steps(step) if step["kind"] == "chain" else [step]
    return steps


def _members(tree: Tree) -> list[Tree]:
    """The members of a group: those of groups in it are its own."""
    return [
        member
        for part in tree["parts"]
        for member in (_members(part) if part["kind"] == "group" else [part])
    ]


def _header(parts: list[Tree], args: list[Any]) -> list[Any]:
    members = _members({"parts": parts})
    values = _each([lambda t=t: _value(t, args) for t in members])
    return [_gathered(value) for value in values]


def _body(body: Tree, results: list[Any]) -> Any:
    return _value(body, [results])


def _gathered(value: Any) -> Any:
    return [_gathered(part) for part in value] if isinstance(value, _Group) else value


def _each(calls: list[Callable[[], Any]]) -> list[Any]:
    """The values of all calls; where some fail, the failure of any of them: whoever waits may hear
    of one before the chord names another."""
    values: list[Any] = []
    failures: list[Failed] = []
    for call in calls:
        try:
            values.append(call())
        except Failed as failure:
            failures.append(failure)
    if not failures:
        return values
    raise Failed(frozenset().union(*(failure.tags for failure in failures)))
