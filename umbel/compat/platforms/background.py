"""Going on in the background, as another process of the same program.

``umbel worker --detach`` starts a program anew instead (:mod:`umbel.cli.detaching`); these are for
programs that go on with what they have.

Source:
    Celery internals reference, ``celery.platforms``: names and behaviour. daemon(7): fork, a
    session of its own, fork again, so that no terminal is ever its terminal.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from umbel.compat.moved import try_import
from umbel.compat.platforms.machine import SYSTEM
from umbel.compat.platforms.pidfile import stale_pidlock_gone
from umbel.compat.platforms.users import maybe_drop_privileges

__all__ = [
    "DAEMON_WORKDIR",
    "DaemonContext",
    "close_open_fds",
    "detached",
    "fd_by_path",
    "get_fdmax",
]

DAEMON_WORKDIR = "/"

_OPEN_FILES = Path("/proc/self/fd" if SYSTEM == "Linux" else "/dev/fd")
"""A folder with an entry for each open file of this process, where there is one."""

# None on Windows.
_resource: Any = try_import("resource")


def get_fdmax(default: int | None = None) -> int | None:
    """The most files that the process may have open; ``default`` where nobody knows."""
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_OPEN_MAX")
    if _resource is None:
        return default
    most: int = _resource.getrlimit(_resource.RLIMIT_NOFILE)[1]
    return default if most == _resource.RLIM_INFINITY else most


def fd_by_path(paths: Iterable[str | os.PathLike[str]]) -> list[int]:
    """The open files of this process that are one of these; paths that cannot be read are none."""
    wanted = {found for path in paths if (found := _device_and_file(path)) is not None}
    return [number for number in _open_files() if _device_and_file(number) in wanted]


def _device_and_file(file: int | str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - open files have numbers, not paths
    except OSError:
        # Not there, or closed since it was listed.
        return None
    return found.st_dev, found.st_ino


def close_open_fds(keep: Iterable[Any] | None = None) -> None:
    """Close all open files but these, given as numbers or files."""
    kept = {number for file in keep or () if (number := _number_of(file)) is not None}
    for number in _open_files():
        if number not in kept:
            with suppress(OSError):
                os.close(number)


def _open_files() -> list[int]:
    try:
        return sorted(int(entry.name) for entry in _OPEN_FILES.iterdir() if entry.name.isdigit())
    except OSError:
        # No such folder: all there may be.
        return list(range(get_fdmax(2048) or 2048))


def _number_of(file: Any) -> int | None:
    if file is None or isinstance(file, int):
        return file
    try:
        number: int = file.fileno()
    except (AttributeError, OSError, ValueError):
        # In memory, or closed.
        return None
    return number


class DaemonContext:
    """From its beginning on, this program is a process in the background.

    Args:
        workdir: The folder to change to; None: ``/``.
        umask: The file mode mask; a text is octal if it begins with 0.
        fake: Stay in the foreground.
        after_chdir: Called in the new folder, before files are closed.
        after_forkers: Whether what multiprocessing wants called after a fork is called.
    """

    def __init__(
        self,
        pidfile: str | None = None,
        workdir: str | os.PathLike[str] | None = None,
        umask: int | str | None = None,
        fake: bool = False,
        after_chdir: Callable[[], object] | None = None,
        after_forkers: bool = True,
        **_kwargs: Any,
    ) -> None:
        if isinstance(umask, str):
            umask = int(umask, 8 if umask.startswith("0") else 10)
        self.workdir = workdir or DAEMON_WORKDIR
        self.umask = umask
        self.fake = fake
        self.after_chdir = after_chdir
        self.after_forkers = after_forkers
        self.stdfds = (sys.stdin, sys.stdout, sys.stderr)
        self._is_open = False

    def open(self) -> None:
        """Go into the background; the process that was in the foreground ends here."""
        if self._is_open:
            return
        if not self.fake:
            self._detach()
        os.chdir(self.workdir)
        if self.umask is not None:
            os.umask(self.umask)
        if self.after_chdir is not None:
            self.after_chdir()
        if not self.fake:
            close_open_fds([*self.stdfds, *fd_by_path(["/dev/urandom"])])
            for file in self.stdfds:
                self.redirect_to_null(_number_of(file))
            if self.after_forkers:
                _run_after_forkers()
        self._is_open = True

    __enter__ = open  # noqa: A003 - the method

    def close(self, *_error: object) -> None:
        """Nothing that went into the background comes back."""
        self._is_open = False

    __exit__ = close

    def redirect_to_null(self, fd: int | None) -> None:
        """Let a file be the one that takes everything and gives nothing."""
        if fd is None:
            return
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != fd:
            os.dup2(nothing, fd)
            os.close(nothing)

    def _detach(self) -> None:
        # Who has begun it does not wait for the end: handlers and buffers are the child's now.
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)


def _run_after_forkers() -> None:
    # Only what was imported has anything to be called.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_after_forkers()  # noqa: SLF001 - there is no other name


def detached(
    logfile: str | os.PathLike[str] | None = None,
    pidfile: str | os.PathLike[str] | None = None,
    uid: int | str | None = None,
    gid: int | str | None = None,
    umask: int | str = 0,
    workdir: str | os.PathLike[str] | None = None,
    fake: bool = False,
    **_opts: Any,
) -> DaemonContext:
    """A context in which this program is in the background, as another user.

    Args:
        logfile: A file that must be possible to write to.
        pidfile: A file that no running process may have; to make it is left to the caller.
        workdir: None: the folder it is in.

    Raises:
        RuntimeError: There is no such thing on this system.
        SystemExit: Another process has ``pidfile``; raised in the background.
    """
    if _resource is None:
        raise RuntimeError("This platform does not support detach.")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    maybe_drop_privileges(uid=uid, gid=gid)

    def check_files() -> None:
        if logfile:
            Path(logfile).open("a").close()
        if pidfile:
            stale_pidlock_gone(pidfile)

    return DaemonContext(
        umask=umask, workdir=workdir or Path.cwd(), fake=fake, after_chdir=check_files
    )
