"""Going into the background: ``--detach`` of ``worker``, ``beat`` and ``events``.

What goes on in the background is a process of its own, in a session of its own, started with the
same arguments; the one that was typed in ends once the other one is seen to run.

Source:
    Celery user guide, Daemonization; Celery reference, "Command Line Interface".
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from umbel.cli.daemon import Surroundings, mask_of, path_of, refuse_if_taken
from umbel.cli.session import Session

__all__ = ["detach", "detach_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_ATTACHED = "--no-detach"
"""What the process in the background is told, so that it stays what it is."""
_UP_WITHIN = 30.0
"""Seconds until the process id file must be there."""
_DIES_WITHIN = 1.0
"""Seconds in which what cannot start has ended; all there is to see without a process id file."""
_LOOK_EVERY = 0.05


def detach_options(*short: str) -> Callable[[_F], _F]:
    """``--detach`` and ``--executable``; the option before ``--executable`` is what ends it."""

    def decorate(function: _F) -> _F:
        wanted = click.option(
            *short, f"--detach/{_ATTACHED}", default=False, help="Run in the background."
        )
        executable = click.option(
            "--executable", help="With --detach: the Python that runs in the background."
        )
        return wanted(executable(function))

    return decorate


def detach(
    session: Session, surroundings: Surroundings, hostname: str, executable: str | None
) -> None:
    """Start this command in the background, and see that it has started.

    Args:
        executable: The interpreter; None: this one.

    Raises:
        click.ClickException: It has not; says why, or where that can be read.
    """
    pidfile = path_of(surroundings.pidfile, hostname)
    logfile = path_of(surroundings.logfile, hostname)
    if pidfile is not None:
        refuse_if_taken(pidfile)
    command = [executable or sys.executable, "-m", "umbel", *_attached(session.argv)]
    output: int | IO[bytes] = subprocess.DEVNULL
    if logfile is not None:
        # What goes wrong before there is a log goes there too.
        output = _open_log(logfile, surroundings)
    try:
        # Any: what it is given depends on the system.
        process: Any = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            cwd=session.started_in,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **_apart(),
        )
    except OSError as error:
        raise click.ClickException(f"cannot start {command[0]!r}: {error}.") from error
    finally:
        if not isinstance(output, int):
            output.close()
    _see_it_start(process, pidfile, logfile)
    # It is nobody's child any more: who asks for its exit code asks the service manager.
    process.returncode = 0


def _attached(argv: Sequence[str]) -> list[str]:
    """The arguments with ``--no-detach``, which wins over what was said before, anywhere."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    return [*argv[:end], _ATTACHED, *argv[end:]]


def _apart() -> Mapping[str, Any]:
    """How a process becomes independent of this one and of its terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _open_log(path: Path, surroundings: Surroundings) -> IO[bytes]:
    # Made with the mode that the service would make it with.
    before = os.umask(mask_of(surroundings.umask)) if surroundings.umask is not None else None
    try:
        return path.open("ab")
    except OSError as error:
        raise click.ClickException(
            f"cannot write the log file {path}: {error.strerror}. Make its folder, or use another "
            "--logfile."
        ) from error
    finally:
        if before is not None:
            os.umask(before)


def _see_it_start(
    process: subprocess.Popen[bytes], pidfile: Path | None, logfile: Path | None
) -> None:
    until = time.monotonic() + (_DIES_WITHIN if pidfile is None else _UP_WITHIN)
    while time.monotonic() < until:
        try:
            code = process.wait(_LOOK_EVERY)
        except subprocess.TimeoutExpired:
            if pidfile is not None and _says(pidfile, process.pid):
                return
            continue
        where = f"see {logfile}" if logfile is not None else "start it without --detach to see why"
        raise click.ClickException(f"it ended at once with exit code {code}: {where}.")
    if pidfile is not None:
        raise click.ClickException(
            f"process {process.pid} was started, but has not written {pidfile} for "
            f"{_UP_WITHIN:g} seconds."
        )


def _says(pidfile: Path, pid: int) -> bool:
    try:
        return pidfile.read_text(encoding="ascii").strip() == str(pid)
    except OSError:
        # Not yet.
        return False
