"""How much memory a process has."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

__all__ = ["resident"]

_UNIT = 1024 if sys.platform == "darwin" else 1
"""``ru_maxrss`` is in bytes on macOS, in KiB elsewhere."""
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024 or 4


def resident(limit: int) -> int:
    """KiB of this process in memory, if that may be more than ``limit``; else something less.

    The peak costs half a microsecond to ask for; what there is now, which may be less, costs ten
    times as much, so it is asked for only when the peak is above the limit. Where the system does
    not tell it, the peak counts, as in Celery.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _UNIT
    if peak <= limit:
        return peak
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return peak
