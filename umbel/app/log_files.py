"""Log files that somebody may move away, as ``logrotate`` does."""

from __future__ import annotations

import logging
import sys
from logging.handlers import WatchedFileHandler

__all__ = ["LogFile"]


class LogFile(WatchedFileHandler):
    """Writes to the file of that name, also when another is there than before.

    Where that cannot be opened, what is logged is lost until it can be, which is said once, on
    standard error; the worker goes on.

    Source:
        Celery logs through :class:`logging.handlers.WatchedFileHandler`.
    """

    _is_lost = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, to a new file if the one before was moved or deleted."""
        try:
            super().emit(record)
            self._is_lost = False
        except OSError as error:
            if not self._is_lost and sys.__stderr__ is not None:
                print(
                    f"Cannot write the log to {self.baseFilename}: {error.strerror or error}. "
                    "What is logged is lost until that can be written again.",
                    file=sys.__stderr__,
                    flush=True,
                )
            self._is_lost = True
