"""The file that remembers what was revoked while a worker is not running (``--statedb``)."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from umbel.model import Revocation

__all__ = ["StateFile"]

logger = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    umbel_worker_state: int
    """The version of this format."""
    revoked: list[Revocation]


class StateFile:
    """Reads at the start, and writes whenever something changed: whole, or not at all.

    Source:
        Celery user guide, Workers, "Persistent revokes". The file itself is JSON of our own.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self) -> list[Revocation]:
        """What was revoked; nothing, and a line in the log, when the file cannot be read.

        A file that is not ours is kept beside the new one, under another name.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.warning("Cannot read the worker's state in %s: %s", self.path, error)
            return []
        try:
            return msgspec.json.decode(content, type=_Kept).revoked
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            aside = self.path.with_name(f"{self.path.name}.unreadable")
            with suppress(OSError):
                self.path.replace(aside)
            logger.warning(
                "The worker's state in %s cannot be read (%s): starting with nothing revoked. "
                "The file is kept as %s.",
                self.path,
                error,
                aside,
            )
            return []

    def write(self, revocations: Iterable[Revocation]) -> bool:
        """Replace the file; returns whether that worked. What did not is in the log."""
        content = msgspec.json.encode(_Kept(umbel_worker_state=1, revoked=list(revocations)))
        name = ""
        try:
            # Beside it: only within one file system is replacing one step.
            number, name = tempfile.mkstemp(prefix=self.path.name, dir=self.path.parent)
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError as error:
            logger.error(  # noqa: TRY400 - the reason says it all
                "Cannot write the worker's state to %s: %s", self.path, error
            )
            if name:
                with suppress(OSError):
                    Path(name).unlink()
            return False
        return True
