"""Splitting what is longer than one call may carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["in_batches"]

T = TypeVar("T")


def in_batches(items: Sequence[T], limit: int) -> Iterator[Sequence[T]]:
    """The items in slices of at most ``limit``; usually there is just one, the items themselves.

    >>> [list(batch) for batch in in_batches("abcde", 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    if len(items) <= limit:
        if items:
            yield items
        return
    for start in range(0, len(items), limit):
        yield items[start : start + limit]
