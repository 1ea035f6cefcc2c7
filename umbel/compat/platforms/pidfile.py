"""Files that say which process runs.

Source:
    Celery internals reference, ``celery.platforms``: names, behaviour, what is printed.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from umbel.compat.platforms.machine import EX_CANTCREAT

__all__ = ["LockFailed", "PIDFile", "Pidfile", "create_pidlock", "is_alive", "stale_pidlock_gone"]

_MODE = 0o644


class LockFailed(Exception):
    """The file could not be made."""


class Pidfile:
    """The file of this process: as long as it is there, it is this process's turn."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Later the process may be in another folder.
        self.path = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links

    def acquire(self) -> Self:
        """Make the file.

        Raises:
            LockFailed: It is there already, or cannot be made.
        """
        try:
            self.write_pid()
        except OSError as error:
            raise LockFailed(str(error)) from error
        return self

    __enter__ = acquire

    def release(self, *_error: object) -> None:
        """Remove the file."""
        self.remove()

    __exit__ = release

    def is_locked(self) -> bool:
        """Whether there is a file."""
        return Path(self.path).exists()

    def read_pid(self) -> int | None:
        """The process that it names; None: there is no file.

        Raises:
            ValueError: It names none, or was not written to its end.
        """
        try:
            with Path(self.path).open(encoding="ascii") as file:
                line = file.readline()
        except FileNotFoundError:
            return None
        if line.strip() == line:
            raise ValueError(f"Partial or invalid pidfile {self.path}")
        try:
            return int(line)
        except ValueError:
            raise ValueError(f"pidfile {self.path} contents invalid.") from None

    def remove(self) -> None:
        """Remove the file, if it is there and may be removed."""
        with suppress(FileNotFoundError, PermissionError):
            Path(self.path).unlink()

    def remove_if_stale(self) -> bool:
        """Remove the file of a process that is gone, or is this one; returns whether it did."""
        try:
            pid = self.read_pid()
        except ValueError:
            print("Broken pidfile found - Removing it.", file=sys.stderr)  # noqa: T201 - Celery's
            pid = None
        if pid and pid != os.getpid():
            if is_alive(pid):
                return False
            print("Stale pidfile exists - Removing it.", file=sys.stderr)  # noqa: T201 - Celery's
        self.remove()
        return True

    def write_pid(self) -> None:
        """Make the file, with this process in it.

        Raises:
            FileExistsError: There is one.
            LockFailed: What is in it is not what was written.
        """
        content = f"{os.getpid()}\n"
        number = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE)
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
        if Path(self.path).read_text("ascii") != content:
            raise LockFailed("Inconsistency: Pidfile content doesn't match at re-read")


PIDFile = Pidfile


def create_pidlock(pidfile: str | os.PathLike[str]) -> Pidfile:
    """Make the file of this process, in place of that of a process that is gone.

    It is removed when the program ends.

    Raises:
        SystemExit: Another process has it; what it says is printed.
    """
    lock = stale_pidlock_gone(pidfile).acquire()
    atexit.register(lock.release)
    return lock


def stale_pidlock_gone(pidfile: str | os.PathLike[str]) -> Pidfile:
    """The file of this process, still to be made.

    Raises:
        SystemExit: Another process has it; what it says is printed.
    """
    lock = Pidfile(pidfile)
    if lock.is_locked() and not lock.remove_if_stale():
        print(  # noqa: T201 - Celery's
            f"ERROR: Pidfile ({pidfile}) already exists.\n"
            f"Seems we're already running? (pid: {lock.read_pid()})",
            file=sys.stderr,
        )
        raise SystemExit(EX_CANTCREAT)
    return lock


def is_alive(pid: int) -> bool:
    """Whether there is such a process, of any user."""
    try:
        os.kill(pid, 0)
    except OverflowError:
        return False
    except OSError as error:
        # Of another user, but there.
        return error.errno == errno.EPERM
    return True
