"""Sets and buffers that do not grow without bound.

Source:
    Celery internals reference, ``celery.utils.collections``: names and behaviour.
"""

from __future__ import annotations

import collections
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSet, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from queue import Empty as QueueIsEmpty
from typing import Any

from umbel.serialization.shapes import is_dict, is_list

__all__ = ["BufferMap", "Evictable", "LimitedSet", "Messagebuffer"]

_PER_CALL = 100
"""What adding to a buffer evicts at most; :meth:`Evictable.evict` goes on until there is room."""
_NOTHING = object()


class LimitedSet(MutableSet[Any]):
    """A set that forgets what was added first, and what was added long ago.

    Args:
        maxlen: Most items; 0: any number.
        expires: Seconds after which an item is forgotten; 0: never.
        data: What is in it: items, or the moment on the monotonic clock of each.
        minlen: So many items are kept even if they have expired.
    """

    def __init__(
        self,
        maxlen: int | None = 0,
        expires: float | None = 0,
        data: Any = None,
        minlen: int | None = 0,
    ) -> None:
        self.maxlen = maxlen or 0
        self.minlen = minlen or 0
        self.expires = expires or 0
        # Moments with a number that tells those apart that the clock does not.
        self._added: dict[Any, tuple[float, int]] = {}
        self._number = count()
        # By age; holds also what has been taken out, or added again, since.
        self._by_age: list[tuple[float, int, Any]] = []
        if data:
            self.update(data)
        if not self.maxlen >= self.minlen >= 0:
            raise ValueError("minlen must be a positive number, less or equal to maxlen.")
        if self.expires < 0:
            raise ValueError("expires cannot be negative!")

    def __len__(self) -> int:
        return len(self._added)

    def __contains__(self, item: object) -> bool:
        return item in self._added

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(self._added, key=self._added.__getitem__))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LimitedSet):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # as for every set

    def __repr__(self) -> str:
        limits = f"maxlen={self.maxlen}, expires={self.expires}, minlen={self.minlen}"
        return f"<{type(self).__name__}({len(self)}): {limits}>"

    def __reduce__(self) -> Any:
        return type(self), (self.maxlen, self.expires, self.as_dict(), self.minlen)

    def as_dict(self) -> dict[Any, float]:
        """The moment of each item, on the monotonic clock."""
        return {item: moment for item, (moment, _) in self._added.items()}

    def add(self, item: Any, now: float | None = None) -> None:
        """Add an item, or make it the last one added.

        Args:
            now: When it was added, on the monotonic clock.
        """
        self._put(item, time.monotonic() if now is None else float(now))
        if self.maxlen and len(self._added) >= self.maxlen:
            self.purge()

    def update(self, other: Any) -> None:
        """Add the items of another set, with their moments; those of a dict; or items.

        Raises:
            ValueError: What a dict has for an item is no moment.
        """
        if isinstance(other, LimitedSet):
            moment_by_item = other.as_dict()
            for item in other:
                self._put(item, moment_by_item[item])
            self.purge()
        elif is_dict(other):
            for item, moment in other.items():
                added = moment[0] if is_list(moment) else moment
                if not isinstance(added, float):
                    raise ValueError(  # noqa: TRY004 - Celery's
                        f"Expecting float timestamp, got type {type(added)!r} with value: {added}"
                    )
                self.add(item, added)
        else:
            for item in other or ():
                self.add(item)

    def discard(self, item: Any) -> None:
        """Take an item out, if it is in."""
        self._added.pop(item, None)

    pop_value = discard

    def clear(self) -> None:
        """Take everything out."""
        self._added.clear()
        self._by_age.clear()

    def pop(self, default: Any = None) -> Any:
        """Take out what was added first; ``default`` if there is nothing."""
        while self._by_age:
            moment, number, item = heappop(self._by_age)
            if self._added.get(item) == (moment, number):
                del self._added[item]
                return item
        return default

    def purge(self, now: float | Callable[[], float] | None = None) -> None:
        """Forget what is too much or too old.

        Args:
            now: The moment on the monotonic clock; None: now.
        """
        moment = time.monotonic() if now is None else now() if callable(now) else now
        while self.maxlen and len(self._added) > self.maxlen:
            self.pop()
        while self.expires and len(self._added) > self.minlen:
            added, number, item = self._by_age[0]
            if self._added.get(item) != (added, number):
                heappop(self._by_age)
            elif added + self.expires > moment:
                break
            else:
                self.pop()

    def _put(self, item: Any, moment: float) -> None:
        self._added[item] = entry = (moment, next(self._number))
        heappush(self._by_age, (*entry, item))
        if len(self._by_age) > 2 * len(self._added) + _PER_CALL:
            self._by_age = [(*entry, item) for item, entry in self._added.items()]
            heapify(self._by_age)


class Evictable:
    """Something with ``maxsize`` that drops what is oldest."""

    Empty = QueueIsEmpty
    maxsize: int | None

    @property
    def _evictcount(self) -> int:
        raise NotImplementedError

    def _pop_to_evict(self) -> object:
        raise NotImplementedError

    def evict(self) -> None:
        """Drop what is too much."""
        self._evict(sys.maxsize)

    def _evict(self, limit: int = _PER_CALL) -> None:
        while limit and self.maxsize is not None and self._evictcount > self.maxsize:
            limit -= 1
            try:
                self._pop_to_evict()
            except self.Empty:
                return


class Messagebuffer(Evictable, Sequence[Any]):
    """A queue of at most ``maxsize`` messages; None or 0: any number."""

    def __init__(
        self,
        maxsize: int | None,
        iterable: Iterable[Any] | None = None,
        deque: Callable[[Iterable[Any]], Any] = collections.deque,
    ) -> None:
        self.maxsize = maxsize
        self.data = deque(iterable or [])

    def put(self, item: Any) -> None:
        """Add a message, and drop the oldest one if there are too many."""
        self.extend((item,))

    def extend(self, it: Iterable[Any]) -> None:
        """Add messages, and drop the oldest ones if there are too many."""
        self.data.extend(it)
        if self.maxsize:
            self._evict()

    def take(self, *default: Any) -> Any:
        """Take out the oldest message.

        Raises:
            queue.Empty: There is none, and no default.
        """
        try:
            return self.data.popleft()
        except IndexError:
            if default:
                return default[0]
            raise self.Empty from None

    def _pop_to_evict(self) -> Any:
        return self.take()

    @property
    def _evictcount(self) -> int:
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        # As Celery has it: who iterates takes.
        while self.data:
            yield self.data.popleft()

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self.data))

    def __contains__(self, item: object) -> bool:
        return item in self.data

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}/{self.maxsize}>"


class BufferMap(collections.OrderedDict[Any, Messagebuffer], Evictable):
    """A queue for each key: at most ``maxsize`` messages in all, ``bufmaxsize`` in each.

    What is too much is taken from the keys that were not used for longest.
    """

    Buffer = Messagebuffer

    def __init__(
        self,
        maxsize: int | None,
        iterable: Mapping[Any, Iterable[Any]] | None = None,
        bufmaxsize: int = 1000,
    ) -> None:
        super().__init__()
        self.maxsize = maxsize
        self.bufmaxsize = bufmaxsize
        self.total = 0
        for key, items in dict(iterable or {}).items():
            self._buffer(key).extend(items)
        self.total = sum(map(len, self.values()))
        if self.maxsize:
            self.evict()

    def put(self, key: Any, item: Any) -> None:
        """Add a message to a key's."""
        self._add(key, (item,))

    def extend(self, key: Any, it: Iterable[Any]) -> None:
        """Add messages to a key's."""
        self._add(key, it, used=False)

    def take(self, key: Any, *default: Any) -> Any:
        """Take out the oldest of a key's messages.

        Raises:
            queue.Empty: There is none, and no default.
        """
        buffer = self.get(key)
        if not buffer:
            if default:
                return default[0]
            raise self.Empty
        self.total -= 1
        self.move_to_end(key)
        return buffer.take()

    def _add(self, key: Any, items: Iterable[Any], *, used: bool = True) -> None:
        buffer = self._buffer(key)
        before = len(buffer)
        buffer.extend(items)
        self.total += len(buffer) - before
        if used:
            self.move_to_end(key)
        if self.maxsize:
            self._evict()

    def _buffer(self, key: Any) -> Messagebuffer:
        if key not in self:
            self[key] = self.Buffer(maxsize=self.bufmaxsize)
        return self[key]

    def _pop_to_evict(self) -> None:
        while self:
            key = next(iter(self))
            buffer = self[key]
            took = buffer.take(None) if len(buffer) else _NOTHING
            if len(buffer):
                self.move_to_end(key)
            else:
                del self[key]
            if took is not _NOTHING:
                self.total -= 1
                return

    @property
    def _evictcount(self) -> int:
        return self.total

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.total}/{self.maxsize}>"
