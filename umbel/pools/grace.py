"""How long what runs may go on when a pool stops."""

from __future__ import annotations

import asyncio
from math import inf

__all__ = ["within"]


def within(grace: float) -> asyncio.Timeout:
    """A timeout of ``grace`` seconds; ``inf`` is none at all."""
    # Loops do not all take an infinite timer.
    return asyncio.timeout(None if grace == inf else grace)
