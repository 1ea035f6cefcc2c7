"""What a broker must do that keeps what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from umbel.model import DeadLetter

__all__ = ["DeadLetterStore", "KeepsDeadLetters"]


class DeadLetterStore(Protocol):
    """The messages that were dropped (``nack(requeue=False)``), for people to look at.

    Raises (all methods):
        BrokerUnavailable: No connection. Nothing is known; the caller may repeat the call.
    """

    async def count(self) -> int:
        """How many there are."""
        ...

    async def latest(self, *, limit: int, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first, without the latest ``skip``."""
        ...

    async def load(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these that exist, in no order."""
        ...

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many there were."""
        ...


@runtime_checkable
class KeepsDeadLetters(Protocol):
    """A broker that keeps dead letters."""

    @property
    def dead_letters(self) -> DeadLetterStore: ...
