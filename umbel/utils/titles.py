"""What lists of processes call a process."""

from __future__ import annotations

import importlib
import os

__all__ = ["show_title"]


def show_title(title: str) -> None:
    """Have ``ps`` and the like show a title for this process, where ``setproctitle`` is
    installed and ``NOSETPS`` is not set.

    Source:
        Celery does so, with titles that scripts look for: ``[celeryd: w1@host:MainProcess]
        -active- (worker -A proj)``, ``[celeryd: w1@host:ForkPoolWorker-1]``.
    """
    if os.environ.get("NOSETPS"):
        return
    try:
        # Optional, and without types.
        setproctitle = importlib.import_module("setproctitle")
    except ModuleNotFoundError:
        return
    setproctitle.setproctitle(title)
