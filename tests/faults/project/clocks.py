"""The clock of a machine on which somebody sets the time."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from umbel.clock import SystemClock

__all__ = ["ClockSetByHand"]


class ClockSetByHand(SystemClock):
    """Wrong by so many seconds as are in a file, which may change at any time.

    Args:
        path: The file; by default what ``CLOCK`` names.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(os.environ["CLOCK"])

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def time(self) -> float:
        return time.time() + float(self._path.read_text())
