"""How many requests to hand over at once: many while they are short, one when they are long."""

from __future__ import annotations

__all__ = ["Pace"]

_AHEAD = 0.015
"""Seconds of work to hand over behind what runs: long enough to hide the hand-over, too short to
be missed."""
_MOST = 200
_UNKNOWN = 2
"""How many to hand over before anything is known."""


class Pace:
    """A moving mean of what a request takes, and what follows from it.

    Source:
        ``benchmarks``: between 100 and 300 requests per batch the hand-over costs the least.
    """

    __slots__ = ("_mean", "ahead")

    def __init__(self) -> None:
        self.ahead = _UNKNOWN
        """How many requests make up a batch, from 1."""
        self._mean: float | None = None

    def observe(self, seconds: float, count: int) -> None:
        """Note that ``count`` requests took ``seconds`` together."""
        latest = seconds / count
        mean = self._mean
        if mean is None:
            mean = latest
        elif latest > mean:
            # Growing is believed at once: the next request must not wait behind a long one.
            mean += (latest - mean) * 0.5
        else:
            mean += (latest - mean) * 0.25
        self._mean = mean
        self.ahead = _MOST if mean * _MOST <= _AHEAD else 1 + int(_AHEAD / mean)
