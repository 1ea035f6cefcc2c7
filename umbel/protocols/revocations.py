"""Where revocations are kept for workers that start later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from umbel.model import Revocation

__all__ = ["KeepsRevocations", "RevocationStore"]


class RevocationStore(Protocol):
    """The latest revocations, for everyone who shares the broker.

    Raises (all methods):
        BrokerUnavailable: No connection. Nothing is known; the caller may repeat the call.
    """

    async def add(self, revocations: Sequence[Revocation], *, keep: int) -> None:
        """Keep these too. One that is there already becomes the latest.

        Args:
            keep: How many to keep; the oldest go first.
        """

    async def since(self, mark: int) -> tuple[list[Revocation], int]:
        """What was added after a mark, the oldest first, and the mark to ask with next time.

        Args:
            mark: 0 for everything.
        """
        ...


@runtime_checkable
class KeepsRevocations(Protocol):
    """A broker that keeps revocations."""

    @property
    def revocations(self) -> RevocationStore: ...
