"""Which tasks are not to be run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from umbel.exceptions import DecodeError
from umbel.model import Request, Revocation
from umbel.model.revocation import of_headers, of_ids
from umbel.protocols import Clock
from umbel.serialization.shapes import is_dict
from umbel.wire import headers

__all__ = ["Revocations", "of_headers", "of_ids"]

T = TypeVar("T")


class Revocations:
    """A bounded set of revocations, the latest last.

    Source:
        ``celery.worker.state``: a revocation holds as long as there is room; when there is not,
        the oldest go, and all that are older than ``REVOKE_EXPIRES``.
    """

    def __init__(self, clock: Clock, *, most: int, seconds: float) -> None:
        """Make one.

        Args:
            most: How many to remember.
            seconds: How old they may be once there are that many.
        """
        self._clock = clock
        self.most = most
        self._seconds = seconds
        # In the order of their moments; of ids alone, because that is what each task is asked.
        self._moment_by_id: dict[str, float] = {}
        self._moment_by_stamp: dict[Revocation, float] = {}
        self.version = 0
        """Rises with every addition."""

    def __len__(self) -> int:
        return len(self._moment_by_id) + len(self._moment_by_stamp)

    def __iter__(self) -> Iterator[Revocation]:
        yield from map(Revocation, self._moment_by_id)
        yield from self._moment_by_stamp

    @property
    def ids(self) -> list[str]:
        """The task ids, the oldest first."""
        return list(self._moment_by_id)

    @property
    def stamps(self) -> dict[str, list[str]]:
        """The values of stamped headers by header."""
        found: dict[str, list[str]] = {}
        for stamp in self._moment_by_stamp:
            found.setdefault(stamp.header, []).append(stamp.value)
        return found

    def add(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Remember these; returns those that were not known."""
        now = self._clock.monotonic()
        fresh: list[Revocation] = []
        for revocation in revocations:
            if revocation.id:
                known = self._moment_by_id.pop(revocation.id, None)
                self._moment_by_id[revocation.id] = now
            else:
                known = self._moment_by_stamp.pop(revocation, None)
                self._moment_by_stamp[revocation] = now
            if known is None:
                fresh.append(revocation)
        if fresh:
            self.version += 1
            _limit(self._moment_by_id, self.most, now - self._seconds)
            _limit(self._moment_by_stamp, self.most, now - self._seconds)
        return fresh

    def find(self, request: Request) -> Revocation | None:
        """What says that this request is not to be run; None: nothing does."""
        if request.id in self._moment_by_id:
            return Revocation(request.id)
        if not self._moment_by_stamp or b"stamped_headers" not in request.message.headers:
            return None
        for stamp in _stamps(request):
            if stamp in self._moment_by_stamp:
                return stamp
        return None


def _stamps(request: Request) -> list[Revocation]:
    """Source: Celery's task message protocol: ``stamped_headers`` names keys of ``stamps``."""
    try:
        read = headers.read(request.message)
    except DecodeError:
        return []
    stamps, names = read.get("stamps"), read.get("stamped_headers")
    if not is_dict(stamps) or not isinstance(names, list):
        return []
    named = cast("list[object]", names)
    return of_headers({name: value for name, value in stamps.items() if name in named})


def _limit(moments: dict[T, float], most: int, since: float) -> None:
    if len(moments) <= most:
        return
    surplus = len(moments) - most
    for place, (key, moment) in enumerate(list(moments.items())):
        if place >= surplus and moment >= since:
            break
        moments.pop(key)
