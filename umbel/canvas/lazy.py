"""Generators as lists that are read as late as possible, and only once where that will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

__all__ = ["LazyList", "kept"]


class LazyList(Sequence[Any]):
    """A list that a generator makes, when somebody looks.

    Sending a group takes the members out one by one (:meth:`drain`), so that there never are many
    of them at a time. Any other use reads them all, and keeps them.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        """A list of what ``source`` gives."""
        self._source: Iterator[Any] | None = iter(source)
        self._items: list[Any] = []

    @property
    def is_lazy(self) -> bool:
        """Whether nobody has read it."""
        return self._source is not None

    def drain(self) -> Iterator[Any]:
        """The items, one by one; the list is of no use afterwards."""
        source, self._source = self._source, None
        if source is None:
            yield from self._read()
            return
        first, self._items = self._items, [_GONE]
        yield from first
        yield from source

    def first(self) -> Any:
        """The first item, or None; only that is read."""
        if self._source is not None and not self._items:
            self._items = [item for _, item in zip(range(1), self._source, strict=False)]
        items = self._items if self._source is not None else self._read()
        return items[0] if items else None

    def _read(self) -> list[Any]:
        if self._source is not None:
            self._items += self._source
            self._source = None
        if self._items and self._items[0] is _GONE:
            msg = (
                "These tasks came from a generator, and have been sent as it made them. Make the "
                "group of a list to use it more than once."
            )
            raise RuntimeError(msg)
        return self._items

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._read()[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._read()[index] = value

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | LazyList) and self._read() == [*other]

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __bool__(self) -> bool:
        return self.first() is not None or bool(self._read())

    def __json__(self) -> list[Any]:
        """What is sent: the list."""
        return self._read()

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self._read(),)

    def __repr__(self) -> str:
        return repr(self._read())


_GONE: Any = object()


def kept(items: Any) -> Any:
    """A list of items that can be read more than once; a generator stays unread."""
    if items.__class__ in {list, LazyList}:
        return items
    return [*items] if isinstance(items, Sequence) else LazyList(items)
