"""Stamps: headers that a whole workflow carries, put on by a visitor or by name.

A stamp is an option of a signature whose name is listed in the option ``stamped_headers``. It goes
along in the task's message, is kept when the task is retried or replaced, and can be revoked by.

Source:
    Celery user guide, Canvas, "Stamping"; reference, ``celery.canvas.StampingVisitor``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.canvas.chords import chord
    from umbel.canvas.groups import group
    from umbel.canvas.signature import Signature

__all__ = ["GroupStampingVisitor", "StampingVisitor", "stamps_of"]

_NAMES = "stamped_headers"


class StampingVisitor(ABC):
    """Says what to stamp each part of a workflow with.

    Every method is given the stamps so far as keywords and returns further ones. A key
    ``stamped_headers`` lists which of them are stamps; without it, all are.
    """

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for a group, its members and their links."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 - may stay so
        """The group and all in it is stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for a chain, its steps and their links."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 - as above
        """The chain and all in it is stamped."""

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps for a task."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Stamps for the header of a chord; by default those for a group."""
        return self.on_group_start(_header_of(sig), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """The header of a chord is stamped."""
        self.on_group_end(_header_of(sig), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Stamps for the body of a chord."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Stamps for a callback."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Stamps for an error callback."""
        return {}


class GroupStampingVisitor(StampingVisitor):
    """Stamps every task with the ids of the groups that it is in, as ``groups``.

    Source:
        Celery 5.3 user guide, Canvas, "Group stamping".
    """

    def __init__(
        self, groups: list[str] | None = None, stamped_headers: list[str] | None = None
    ) -> None:
        self.groups = groups or []
        self.stamped_headers = stamped_headers or []
        if "groups" not in self.stamped_headers:
            self.stamped_headers.append("groups")

    def on_group_start(self, group: group, **headers: Any) -> dict[str, Any]:
        """From here on, tasks are in this group too."""
        if group.id is None:
            group.set(task_id=group.freeze().id)
        if group.id is not None and group.id not in self.groups:
            self.groups.append(group.id)
        return {"groups": list(self.groups), _NAMES: list(self.stamped_headers)}

    def on_group_end(self, group: group, **headers: Any) -> None:
        """From here on, they are not."""
        if self.groups:
            self.groups.pop()

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """The groups that it is in."""
        return {"groups": list(self.groups), _NAMES: list(self.stamped_headers)}


def stamps_of(
    given: Mapping[str, Any],
    visited: Mapping[str, Any] | None,
    own: Mapping[str, Any] | None,
    *,
    append: bool,
) -> dict[str, Any]:
    """The stamps of a signature, with their names as ``stamped_headers``.

    Args:
        given: By whoever stamps; wins over the signature's own.
        visited: By the visitor; wins over both.
        own: The options of the signature, where they count.
        append: Whether what is there several times becomes a list instead.
    """
    stamps = _named(given)
    if visited is not None:
        stamps = _merged(stamps, _named(visited), append=append, prefers_second=True)
    if own is not None:
        names = [*stamps[_NAMES], *(own.get(_NAMES) or ())]
        mine = {name: own[name] for name in names if name in own}
        mine[_NAMES] = list(own.get(_NAMES) or ())
        stamps = _merged(stamps, mine, append=append, prefers_second=False)
    return stamps


def _named(stamps: Mapping[str, Any]) -> dict[str, Any]:
    names = stamps.get(_NAMES)
    return {**stamps, _NAMES: list(stamps if names is None else names)}


def _merged(
    first: Mapping[str, Any], second: Mapping[str, Any], *, append: bool, prefers_second: bool
) -> dict[str, Any]:
    merged = dict(first)
    for name, value in second.items():
        if name == _NAMES:
            continue
        if name not in merged:
            merged[name] = value
        elif append and merged[name] != value:
            merged[name] = [*_list(merged[name]), *_list(value)]
        elif prefers_second:
            merged[name] = value
    merged[_NAMES] = list(dict.fromkeys((*first[_NAMES], *second[_NAMES])))
    return merged


def _list(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple | set | frozenset) else [value]


def _header_of(sig: chord) -> Signature:
    """The header of a chord as a group, which it becomes."""
    return sig.grouped_header()
