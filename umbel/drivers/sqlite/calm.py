"""Whether those who share a file could do anything for their leases."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

__all__ = ["Calm"]


class Calm:
    """Since when a file can be written, as far as one client knows; used by one thread.

    A full disk, or somebody who has locked the file, keeps everybody from extending leases. When
    that is over they have run out though nobody died: whoever has seen it leaves their holders
    time to extend them before it takes what is on loan.
    """

    def __init__(self, uptime: Callable[[], float]) -> None:
        self._uptime = uptime
        self._since = -inf
        self.troubled = False
        """The last attempt failed, or takes long."""

    def fail(self) -> None:
        """The file could not be written, or not yet."""
        self.troubled = True

    def succeed(self) -> None:
        """It was written."""
        if self.troubled:
            self.troubled = False
            self._since = self._uptime()

    def lasts_at(self, grace: float) -> float:
        """From when on it will have been writable for so long (uptime); inf: it is not."""
        return inf if self.troubled else self._since + grace
