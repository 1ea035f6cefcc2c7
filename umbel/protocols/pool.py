"""What an execution pool must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from umbel.model import Outcome, Request

__all__ = ["Pool"]


class Pool(Protocol):
    """Runs requests, ``size`` at a time. Every submitted request yields exactly one outcome,
    whatever becomes of it: a killed child or a missed time limit is an outcome too."""

    @property
    def size(self) -> int:
        """How many requests run at once."""
        ...

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        ...

    async def start(self) -> None: ...

    async def submit(self, requests: Sequence[Request]) -> None:
        """Start the requests; at most ``free`` of them."""

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has."""
        ...

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Stop running requests: ask the task, or ``signal`` its process. Idempotent."""

    async def resize(self, size: int) -> None:
        """Grow or shrink; shrinking waits for busy slots."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Finish within ``grace`` seconds, then cancel; returns what was not finished."""
        ...
