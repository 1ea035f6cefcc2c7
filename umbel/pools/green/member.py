"""A child that runs greenlets, as its parent sees it."""

from __future__ import annotations

from umbel.model import Request
from umbel.pools.prefork.kin import Kin
from umbel.pools.prefork.slots import Slots

__all__ = ["GreenMember"]


class GreenMember(Kin):
    """What one child holds, and since when it runs it."""

    def __init__(self, number: int, slots: Slots) -> None:
        # After its number, since there are hardly two at once.
        super().__init__(number, number % 64, slots)
        self.since: dict[int, float] = {}
        """When those that run were started, on the monotonic clock."""
        self.told: set[int] = set()
        """Keys of those that have been told of their soft time limit."""
        self.ending: dict[int, float] = {}
        """Since when the child has not heard that it is to end these, by key."""
        self.stack_asked = False
        """Whether it has been asked where it is."""

    def interrupt(self, key: int) -> None:
        """Have ``SoftTimeLimitExceeded`` raised in a request."""
        self.told.add(key)
        self._tell(b"s%d\n" % key)

    def cancel(self, key: int, now: float) -> None:
        """Have ``TaskCancelled`` raised in a request."""
        self.ending.setdefault(key, now)
        self._tell(b"c%d\n" % key)

    def forget(self, key: int) -> Request | None:
        """The request has an outcome; returns it, unless it had one before."""
        self.since.pop(key, None)
        self.told.discard(key)
        self.ending.pop(key, None)
        return self.held.pop(key, None)

    def _tell(self, order: bytes) -> None:
        if self._hearing is not None:
            self._hearing.tell(order)
