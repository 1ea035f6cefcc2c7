"""What pools do alike: how long what runs may go on when they stop, and whom they tell."""

from __future__ import annotations

import asyncio
from math import inf

__all__ = ["unwatched", "within"]


def within(grace: float) -> asyncio.Timeout:
    """A timeout of ``grace`` seconds; ``inf`` is none at all."""
    # Loops do not all take an infinite timer.
    return asyncio.timeout(None if grace == inf else grace)


def unwatched() -> None:
    """What a pool calls as long as nobody watches it."""
