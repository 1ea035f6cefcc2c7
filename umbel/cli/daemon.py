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

from umbel.compat.platforms.pidfile import LockFailed, Pidfile, is_alive
from umbel.compat.platforms.users import maybe_drop_privileges, parse_gid, parse_uid
from umbel.exceptions import SecurityError
from umbel.utils.nodenames import node_format

if TYPE_CHECKING:
    from umbel.app.configuring.settings import Settings

__all__ = [
    "Surroundings",
    "begin_anew",
    "ignore_signals",
    "mask_of",
    "path_of",
    "pid_in",
    "prepare",
    "refuse_if_taken",
]


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
        os.umask(mask_of(surroundings.umask))
    path = path_of(surroundings.pidfile, hostname)
    if path is not None:
        _write_pid(path)
    try:
        _become(surroundings.uid, surroundings.gid)
        log = path_of(surroundings.logfile, hostname)
        yield None if log is None else str(log)
    finally:
        if path is not None and pid_in(path) == os.getpid():
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


def path_of(text: str | None, hostname: str) -> Path | None:
    """A file by its template: ``%n`` and the like stand for parts of the node name."""
    return Path(node_format(text, hostname)).expanduser() if text else None


def mask_of(umask: str | int) -> int:
    """A file mode mask; texts are octal.

    Raises:
        click.ClickException: It is none.
    """
    if isinstance(umask, int):
        return umask
    try:
        return int(umask, 8)
    except ValueError:
        raise click.ClickException(
            f"--umask {umask!r} is not an octal number such as 022."
        ) from None


def refuse_if_taken(path: Path) -> None:
    """See that a process id file belongs to no other process.

    Raises:
        click.ClickException: It does.
    """
    other = pid_in(path)
    if other is not None and other != os.getpid() and is_alive(other):
        raise click.ClickException(
            f"the process id file {path} belongs to process {other}, which is running. "
            "End that one first, or use another --pidfile."
        )


def _write_pid(path: Path) -> None:
    refuse_if_taken(path)
    try:
        # What is there is of a process that is gone, or of this one before it began anew.
        path.unlink(missing_ok=True)
        Pidfile(path).acquire()
    except (LockFailed, OSError) as error:
        raise click.ClickException(
            f"cannot write the process id file {path}: {error}. Make its folder, or use another "
            "--pidfile."
        ) from error


def pid_in(path: Path) -> int | None:
    """The process that a file names; None: there is no file, or it is not one of ours."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # No file, or not one of ours: nobody's.
        return None


def _become(uid: str | int | None, gid: str | int | None) -> None:
    if uid is None and gid is None:
        return
    try:
        user = None if uid is None else parse_uid(uid)
        group = None if gid is None else parse_gid(gid)
    except KeyError as error:
        raise click.ClickException(f"{error.args[0]}, on this machine.") from None
    if user in {None, os.getuid()} and group in {None, os.getgid()}:
        return
    try:
        maybe_drop_privileges(user, group)
    except (KeyError, SecurityError) as error:
        raise click.ClickException(f"cannot become user {uid!r}: {error}") from error
    except PermissionError:
        raise click.ClickException(
            "only root can become another user: start it as root, or without --uid and --gid."
        ) from None
