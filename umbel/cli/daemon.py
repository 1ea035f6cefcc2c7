"""What a service changes about its process: user, file mode mask, process id file, log file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from umbel.utils.nodenames import node_format

if TYPE_CHECKING:
    from umbel.app.settings import Settings

__all__ = ["Surroundings", "begin_anew", "ignore_signals", "prepare"]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """How the process is to be."""

    logfile: str | None
    """``%n`` and the like stand for parts of the node name, as in ``pidfile``."""
    pidfile: str | None
    uid: str | int | None
    """A number or a name."""
    gid: str | int | None
    """A number or a name."""
    umask: str | int | None
    """A number, or a text in octal."""

    @classmethod
    def of(cls, conf: Settings, program: str = "worker", **options: str | None) -> Surroundings:
        """From the options, else from the settings ``worker_logfile`` and so on."""
        return cls(
            **{
                name: conf[f"{program}_{name}"] if options.get(name) is None else options[name]
                for name in cls.__struct_fields__
            }
        )


@contextmanager
def prepare(surroundings: Surroundings, hostname: str) -> Generator[str | None]:
    """Change the process; gives the name of the log file. The process id file goes at the end.

    Raises:
        click.ClickException: The user does not exist, or another worker has the process id file.
    """
    if surroundings.umask is not None:
        os.umask(_mask(surroundings.umask))
    path = _path(surroundings.pidfile, hostname)
    if path is not None:
        _write_pid(path)
    try:
        _become(surroundings.uid, surroundings.gid)
        log = _path(surroundings.logfile, hostname)
        yield None if log is None else str(log)
    finally:
        if path is not None and _pid_in(path) == os.getpid():
            path.unlink(missing_ok=True)


def begin_anew(folder: Path) -> NoReturn:
    """Become a new process with the same arguments, in the folder where this one was started."""
    # A second HUP before the new one listens must not end it: what is ignored stays so.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own


def ignore_signals() -> None:
    """For a process that is about to end anyway, with an exit code that says how it went: the
    interpreter takes down every handler before, and the next signal would be the exit code."""
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


def _path(text: str | None, hostname: str) -> Path | None:
    return Path(node_format(text, hostname)) if text else None


def _mask(umask: str | int) -> int:
    if isinstance(umask, int):
        return umask
    try:
        return int(umask, 8)
    except ValueError:
        raise click.ClickException(
            f"--umask {umask!r} is not an octal number such as 022."
        ) from None


def _write_pid(path: Path) -> None:
    other = _pid_in(path)
    if other is not None and other != os.getpid() and _is_alive(other):
        raise click.ClickException(
            f"the process id file {path} belongs to process {other}, which is running. "
            "End that one first, or use another --pidfile."
        )
    path.write_text(f"{os.getpid()}\n", encoding="ascii")


def _pid_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # No file, or not one of ours: nobody's.
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _become(uid: str | int | None, gid: str | int | None) -> None:
    if uid is None and gid is None:
        return
    # There are no users of that kind on Windows.
    import grp
    import pwd

    try:
        user = (
            None
            if uid is None
            else (pwd.getpwuid(int(uid)) if str(uid).isdigit() else pwd.getpwnam(str(uid)))
        )
        group = (
            None
            if gid is None
            else (int(gid) if str(gid).isdigit() else grp.getgrnam(str(gid)).gr_gid)
        )
    except KeyError:
        raise click.ClickException(
            f"there is no user {uid!r} or no group {gid!r} on this machine."
        ) from None
    if group is None and user is not None:
        group = user.pw_gid
    try:
        # The group first: afterwards we are no longer allowed to.
        if group is not None and group != os.getgid():
            os.setgroups([group])
            os.setgid(group)
        if user is not None and user.pw_uid != os.getuid():
            os.setuid(user.pw_uid)
    except PermissionError:
        raise click.ClickException(
            "only root can become another user: start it as root, or without --uid and --gid."
        ) from None
