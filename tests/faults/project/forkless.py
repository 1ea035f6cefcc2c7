"""The tasks again, on a machine that has no room for another process while a file is there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tasks import app  # noqa: F401 - the tasks are what the worker looks for

_fork = os.fork
_full = Path(os.environ["FULL"])


def fork() -> int:
    """As the kernel answers at the limit of processes, or of memory."""
    if _full.exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
