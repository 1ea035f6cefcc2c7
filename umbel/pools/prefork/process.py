"""What the operating system is asked for, beside what Python offers."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING

from umbel.utils.titles import show_title

if TYPE_CHECKING:
    import ctypes

__all__ = ["STACK_SIGNAL", "die_with", "exit_reason", "libc", "name_process", "signal_named"]

_PR_SET_PDEATHSIG = 1

STACK_SIGNAL = signal.SIGUSR2
"""Makes a child write its stack to its parent."""


def name_process(pool: str, name: str) -> None:
    """Show the process's name in the log; with the worker's also in process lists."""
    show_title(f"[celeryd: {pool}:{name}]")
    # Log records name the process as multiprocessing does.
    multiprocessing.current_process().name = name


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone, where it can (Linux)."""
    if sys.platform == "linux":
        libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library. Ask for it before forking: loading it dirties a megabyte."""
    # Takes longer to import than the rest of this package, and only Linux children need it.
    import ctypes

    return ctypes.CDLL(None)


def exit_reason(status: int | None) -> str:
    """What a wait status says, for people: ``signal 9 (SIGKILL)``, ``exit code 1``."""
    if status is None:
        return "an unknown exit status"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def signal_named(name: str) -> signal.Signals:
    """A signal by its name, with or without ``SIG``, or by its number.

    Raises:
        ValueError: There is no such signal.

    >>> signal_named("KILL") is signal_named("sigkill") is signal_named("9")
    True
    """
    try:
        if name.isdigit():
            return signal.Signals(int(name))
        name = name.upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise ValueError(f"{name!r} is not a signal of this system") from None
