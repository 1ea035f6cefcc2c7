"""Exit codes, the system, and its errors.

Source:
    Celery internals reference, ``celery.platforms``: names.
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "EX_CANTCREAT",
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "SYSTEM",
    "IS_macOS",
    "get_errno_name",
    "ignore_errno",
    "isatty",
    "pyimplementation",
]

EX_OK = 0
EX_FAILURE = 1
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73

SYSTEM = platform.system()
IS_macOS = SYSTEM == "Darwin"
IS_WINDOWS = SYSTEM == "Windows"


def pyimplementation() -> str:
    """The interpreter's name.

    >>> isinstance(pyimplementation(), str)
    True
    """
    return platform.python_implementation()


def isatty(fh: Any) -> bool:
    """Whether people read what is written there; nothing that cannot tell is a terminal."""
    try:
        return bool(fh.isatty())
    except AttributeError:
        return False


def get_errno_name(n: int | str) -> int:
    """The number of an error, by number or name.

    >>> get_errno_name("ENOENT") == get_errno_name(2) == 2
    True
    """
    return int(getattr(errno, n)) if isinstance(n, str) else n


@contextmanager
def ignore_errno(
    *errnos: int | str, types: tuple[type[BaseException], ...] = (OSError,)
) -> Generator[None]:
    """Pass over these errors of the system, by number or name.

    Args:
        types: Of these exceptions only.
    """
    numbers = {get_errno_name(number) for number in errnos}
    try:
        yield
    except types as error:
        if getattr(error, "errno", None) not in numbers:
            raise
