"""Loggers and formatters.

Source:
    Celery reference, ``celery.utils.log``: names and behaviour.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import TracebackType

__all__ = [
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_task_logger",
    "in_sighandler",
    "mlevel",
    "set_in_sighandler",
    "task_logger",
    "worker_logger",
]

LOG_LEVELS: dict[int | str, int | str] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.FATAL,
    "NOTSET": logging.NOTSET,
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "CRITICAL",
    logging.NOTSET: "NOTSET",
}
"""Levels by name, and names by level."""

base_logger = logging.getLogger("umbel")
worker_logger = logging.getLogger("umbel.worker")
task_logger = logging.getLogger("umbel.task")

_RESERVED = frozenset({"umbel", "umbel.task"})

_Info = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def get_logger(name: str) -> logging.Logger:
    """A logger of the worker: what it says goes where the worker's log goes.

    >>> get_logger("proj.startup").parent.name
    'umbel'
    """
    return _below(base_logger, name)


def get_task_logger(name: str) -> logging.Logger:
    """A logger for tasks: its lines carry the name and id of the task that writes them.

    Raises:
        RuntimeError: The name is one of umbel's own.

    >>> get_task_logger("proj.tasks").parent.name
    'umbel.task'
    """
    if name in _RESERVED:
        raise RuntimeError(f"the logger {name!r} is umbel's own. Use __name__ for yours.")
    return _below(task_logger, name)


def _below(parent: logging.Logger, name: str) -> logging.Logger:
    logger = logging.getLogger(name)
    if not _is_below(logger, parent):
        # Not below its package's logger, as it would be: below ours, whose handlers know tasks.
        logger.parent = parent
    return logger


def _is_below(logger: logging.Logger, parent: logging.Logger) -> bool:
    above: logging.Logger | None = logger
    while above is not None and above is not parent:
        above = above.parent
    return above is parent


def mlevel(level: int | str | None) -> int:
    """A log level as a number.

    Raises:
        ValueError: There is no such level.

    >>> mlevel("info"), mlevel(None), mlevel("15")
    (20, 0, 15)
    """
    if not level:
        return logging.NOTSET
    if isinstance(level, int):
        return level
    if level.isdigit():
        return int(level)
    number = LOG_LEVELS.get(level.upper())
    if isinstance(number, int):
        return number
    names = ", ".join(name for name in LOG_LEVELS if isinstance(name, str))
    raise ValueError(f"{level!r} is not a log level. There are {names}.")


class _Handling:
    """Whether a signal is being handled: then nothing may be logged, a lock could be held."""

    signal = False


def set_in_sighandler(value: bool) -> None:
    """Say whether a signal is being handled: then what is printed to a log goes to standard error.

    A signal may come while a record is being written, and whoever writes it holds the lock.
    """
    _Handling.signal = value


@contextmanager
def in_sighandler() -> Generator[None]:
    """A signal is being handled, meanwhile."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


class ColorFormatter(logging.Formatter):
    """Colours the message by its level."""

    COLORS = {  # noqa: RUF012 - documented as a class attribute
        "black": "\033[1;30m",
        "blue": "\033[1;34m",
        "red": "\033[1;31m",
        "yellow": "\033[1;33m",
        "magenta": "\033[1;35m",
    }
    colors = {  # noqa: RUF012 - documented as a class attribute
        "DEBUG": COLORS["blue"],
        "WARNING": COLORS["yellow"],
        "ERROR": COLORS["red"],
        "CRITICAL": COLORS["magenta"],
    }

    def __init__(
        self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None
    ) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def formatException(self, ei: _Info) -> str:  # noqa: N802 - logging's name
        """The traceback as text, also where it holds bytes that are not text."""
        return super().formatException(ei).encode("utf-8", "backslashreplace").decode()

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = super().format(record)
        color = self.colors.get(record.levelname) if self.use_color else None
        return f"{color}{line}\033[0m" if color else line


class LoggingProxy:
    """A text file that writes to a logger, a line per record."""

    mode = "w"
    name: str | None = None
    encoding = "utf-8"
    loglevel: int = logging.ERROR

    def __init__(self, logger: logging.Logger, loglevel: int | str | None = None) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or logger.level or self.loglevel)
        self.closed = False
        # Per thread: what it has begun to print, and whether a record of it is being written.
        self._local = threading.local()

    def write(self, data: object) -> int:
        """Take text, and log the lines that it completes; returns how many characters it took.

        Raises:
            TypeError: It is not text; that is how programs tell a text file from a binary one.
        """
        if not isinstance(data, str):
            raise TypeError(f"a log takes text, not {type(data).__name__}")
        if self.closed:
            return 0
        if getattr(self._local, "logging", False) or _Handling.signal:
            # A handler that prints its own failure must not come back here.
            original = sys.__stderr__
            return original.write(data) if original is not None else 0
        *lines, rest = f"{getattr(self._local, 'begun', '')}{data}".split("\n")
        self._local.begun = rest
        self._log(lines)
        return len(data)

    def _log(self, lines: Iterable[str]) -> None:
        self._local.logging = True
        try:
            for line in lines:
                if line.strip():
                    self.logger.log(self.loglevel, "%s", line.rstrip())
        finally:
            self._local.logging = False

    def writelines(self, sequence: Iterable[str]) -> None:
        """Take several texts."""
        for part in sequence:
            self.write(part)

    def flush(self) -> None:
        """Log what this thread has printed without ending its line."""
        begun = getattr(self._local, "begun", "")
        self._local.begun = ""
        self._log([begun])

    def close(self) -> None:
        """Log what is left, and take nothing any more."""
        self.flush()
        self.closed = True

    def isatty(self) -> bool:
        """False: a log is not a terminal."""
        return False

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor of the real standard error, for programs that a task starts."""
        if sys.__stderr__ is None:
            raise OSError("there is no standard error")
        return sys.__stderr__.fileno()
