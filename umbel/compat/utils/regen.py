"""A list of what an iterator gives, made as far as it is asked for.

Source:
    Celery reference, ``celery.utils.functional``: ``regen``.
"""

from __future__ import annotations

import operator
from collections import UserList
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["regen"]


def regen(it: Iterable[Any]) -> Any:
    """A list or tuple as it is; anything else as a list that can be gone through again.

    The items are taken from ``it`` when they are first needed.

    >>> numbers = regen(n * n for n in range(4))
    >>> numbers[1], list(numbers), list(numbers)
    (1, [0, 1, 4, 9], [0, 1, 4, 9])
    """
    return it if isinstance(it, list | tuple) else _regen(it)


# A list as well, for those who write JSON and ask for one.
class _regen(UserList[Any], list[Any]):  # type: ignore[misc]  # noqa: N801 - seen in its repr
    def __init__(self, it: Iterable[Any]) -> None:  # pyright: ignore[reportMissingSuperCall]
        self._source = iter(it)
        self._taken: list[Any] = []
        self._is_done = False

    def __reduce__(self) -> Any:
        return list, (self.data,)

    def map(self, func: Callable[[Any], Any]) -> None:
        """Put ``func(item)`` in place of each item."""
        self._taken = [func(item) for item in self._taken]
        self._source = map(func, self._source)

    def _take(self) -> bool:
        """Take one more item; whether there was one."""
        try:
            item = next(self._source)
        except StopIteration:
            self._is_done = True
            return False
        self._taken.append(item)
        return True

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while place < len(self._taken) or (not self._is_done and self._take()):
            # One ahead, so that the last item is known to be the last one when it is given.
            if place + 1 == len(self._taken) and not self._is_done:
                self._take()
            yield self._taken[place]
            place += 1

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            place = operator.index(index)
            while place >= len(self._taken) and not self._is_done:
                self._take()
            if 0 <= place < len(self._taken):
                return self._taken[place]
        return self.data[index]

    def __bool__(self) -> bool:
        return bool(self._taken) or (not self._is_done and self._take())

    def __length_hint__(self) -> int:
        return len(self._taken) + operator.length_hint(self._source)

    @property
    def data(
        self,
    ) -> list[Any]:
        """All items."""
        while not self._is_done and self._take():
            pass
        return self._taken

    @data.setter
    def data(self, items: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._taken, self._is_done = list(items), True

    def __repr__(self) -> str:
        rest = "" if self._is_done else "..."
        return f"<{type(self).__name__}: [{', '.join(map(repr, self._taken))}{rest}]>"
