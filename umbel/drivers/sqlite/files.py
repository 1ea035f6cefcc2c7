"""The database's file, and the folder of pipes beside it."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

__all__ = ["Listener", "create", "identity", "ring", "set_aside"]


def create(path: str) -> None:
    """Make the file, for this user only, unless it is there; its folder likewise.

    The file is made beside and linked into place. Opening the database's own file and closing
    it again would drop the locks that this process holds on it through other connections.
    """
    database = Path(path)
    if database.exists():
        return
    folder = database.parent
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(0o700, exist_ok=True)
    draft = database.with_name(f"{database.name}.{secrets.token_hex(4)}")
    draft.touch(0o600, exist_ok=False)
    try:
        database.hardlink_to(draft)
    except FileExistsError:
        # Another process was faster.
        return
    except OSError:
        # A file system without links. Nobody can have opened what is not there yet.
        if not database.exists():
            draft.rename(database)
    finally:
        draft.unlink(missing_ok=True)


def set_aside(path: str, now: datetime) -> str:
    """Rename a damaged database and what SQLite has beside it; its new name."""
    aside = f"{path}.damaged-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    return aside


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at the path now; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _pipe(path: str, name: str) -> str:
    return f"{path}-wake/{name}"


class Listener:
    """Our end of a pipe, into which whoever has news for us writes a byte.

    Best effort: where there are no named pipes, ``open`` gives None and we look now and then.
    """

    def __init__(self, path: str, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self._path = path

    @classmethod
    def open(cls, path: str) -> Listener | None:
        """A new pipe beside the database, if that is possible here."""
        if not hasattr(os, "mkfifo"):
            return None
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        pipe = _pipe(path, name)
        try:
            Path(pipe).parent.mkdir(0o700, exist_ok=True)
            os.mkfifo(pipe, 0o600)
            # For writing too: without a writer it would count as ended, which wakes for ever.
            fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        return cls(path, name, fd)

    def drain(self) -> None:
        """Forget what was written; it only said that there is news."""
        try:
            os.read(self.fd, 65536)
        except OSError:
            # Nothing there: someone else's wake-up, or none.
            return

    def close(self, *, remove: bool = True) -> None:
        """Close our end. ``remove`` is for its owner, not for a forked child."""
        os.close(self.fd)
        if remove:
            # The folder may be gone, with everything in it.
            with suppress(OSError):
                Path(_pipe(self._path, self.name)).unlink()


def ring(path: str, name: str) -> bool:
    """Write a byte into a listener's pipe; False when nobody is there any more."""
    if "/" in name or not hasattr(os, "mkfifo"):
        return False
    pipe = _pipe(path, name)
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        return True
    except OSError as error:
        if error.errno == errno.ENXIO:
            # Nobody reads it: what a process left behind when it was killed.
            with suppress(OSError):
                Path(pipe).unlink()
        return False
    try:
        # The names come out of a file that others may write: nothing but a pipe is written to.
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, b"!")
    except OSError:
        # Full: they have been told. Or they have just gone: then the next one finds out.
        return True
    finally:
        os.close(fd)
    return True
