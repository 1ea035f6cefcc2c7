"""What says that a task is not to be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

__all__ = ["Revocation", "of_headers", "of_ids"]


class Revocation(msgspec.Struct, frozen=True, array_like=True):
    """Either a task id, or a stamp: the name of a stamped header and one of its values."""

    id: str = ""
    """Empty when a stamp is meant."""
    header: str = ""
    value: str = ""
    """As text: the command line knows nothing else."""


def of_ids(ids: Iterable[str]) -> list[Revocation]:
    """The revocations of task ids."""
    return [Revocation(id) for id in ids]


def of_headers(values_by_header: Mapping[str, object]) -> list[Revocation]:
    """The revocations of stamped headers; the values are one or several.

    >>> [(each.header, each.value) for each in of_headers({"tenant": ["a", "b"], "batch": 7})]
    [('tenant', 'a'), ('tenant', 'b'), ('batch', '7')]
    """
    return [
        Revocation(header=header, value=value)
        for header, values in values_by_header.items()
        for value in _texts(values)
    ]


def _texts(values: object) -> list[str]:
    if values is None:
        return []
    if isinstance(values, list | tuple | set | frozenset):
        return [str(value) for value in cast("Iterable[object]", values)]
    return [str(values)]
