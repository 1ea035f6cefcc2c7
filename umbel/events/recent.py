"""A mapping that forgets what has not been used for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(MutableMapping[K, V]):
    """At most ``limit`` items; reading one makes it the newest.

    >>> recent = Recent(2)
    >>> recent["a"], recent["b"], recent["c"] = 1, 2, 3
    >>> list(recent)
    ['b', 'c']
    """

    def __init__(self, limit: int | None = None, data: Iterable[tuple[K, V]] = ()) -> None:
        self.limit = limit
        self.data: OrderedDict[K, V] = OrderedDict(data)

    def __getitem__(self, key: K) -> V:
        value = self.data[key]
        self.data.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self.data[key] = value
        self.data.move_to_end(key)
        while self.limit is not None and len(self.data) > self.limit:
            self.data.popitem(last=False)

    def __delitem__(self, key: K) -> None:
        del self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[K]:
        # A copy, so that whoever looks is not disturbed by what arrives.
        return iter(list(self.data))

    def peek(self, key: K) -> V | None:
        """The value, without making it the newest; None when there is none."""
        return self.data.get(key)

    def values(self) -> Any:
        """All values, the oldest first."""
        return list(self.data.values())

    def items(self) -> Any:
        """All items, the oldest first."""
        return list(self.data.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit, list(self.data.items()))
