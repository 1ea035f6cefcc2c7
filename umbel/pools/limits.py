"""Time limits: what is said, and since when they count."""

from __future__ import annotations

import logging
from typing import Protocol

from umbel.model import Request

__all__ = ["Limited", "is_limited", "say_soft"]

logger = logging.getLogger(__name__)


class Limited(Protocol):
    """What has limits."""

    @property
    def time_limit(self) -> float | None:
        """Seconds."""
        ...

    @property
    def soft_time_limit(self) -> float | None:
        """Seconds."""
        ...


def is_limited(request: Limited) -> bool:
    """Whether the request has a limit at all."""
    return request.time_limit is not None or request.soft_time_limit is not None


def say_soft(request: Request) -> None:
    """The line about a soft limit that is over; that of hard ones is the worker's.

    Source:
        Celery, ``celery.worker.request``: the words.
    """
    logger.warning(
        "Soft time limit (%ss) exceeded for %s[%s]",
        request.soft_time_limit,
        request.task,
        request.id,
    )
