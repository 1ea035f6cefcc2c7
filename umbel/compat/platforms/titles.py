"""What a process is called in lists of processes, and when it ends.

Source:
    Celery internals reference, ``celery.platforms``: names and the form of titles.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import Any

from umbel.compat.moved import try_import
from umbel.compat.platforms.signals import signals
from umbel.compat.texts import safe_str
from umbel.pools.prefork.process import libc

__all__ = ["set_mp_process_title", "set_pdeathsig", "set_process_title", "strargv"]

_PR_SET_PDEATHSIG = 1

# Optional: umbel[setproctitle].
_setproctitle: Any = try_import("setproctitle")


def set_process_title(progname: str, info: str | None = None) -> str:
    """Call the process ``[progname] info``, where setproctitle is installed; returns that."""
    title = f"[{progname}] {info}" if info else f"[{progname}]"
    if _setproctitle is not None:
        _setproctitle.setproctitle(safe_str(title))
    return title


def set_mp_process_title(
    progname: str, info: str | None = None, hostname: str | None = None
) -> str | None:
    """Likewise, with the node and the name of the process; nothing if ``NOSETPS`` is set."""
    if os.environ.get("NOSETPS"):
        return None
    program = f"{progname}: {hostname}" if hostname else progname
    return set_process_title(f"{program}:{multiprocessing.current_process().name}", info=info)


def strargv(argv: list[str]) -> str:
    """The arguments of a command line, without the program; ``manage.py`` has its command too.

    >>> strargv(["celery", "worker", "-l", "info"]), strargv(["manage.py", "celery", "worker"])
    ('worker -l info', 'worker')
    """
    return " ".join(argv[2 if "manage" in argv[0] else 1 :])


def set_pdeathsig(name: str) -> None:
    """Have the kernel send this process a signal when its parent ends, where it can (Linux).

    Celery has a name for the signal, and sends KILL.
    """
    if sys.platform == "linux" and signals.supported(name):
        libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
