"""More about logs.

Source:
    Celery reference, ``celery.utils.log``: names and behaviour.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from typing import Any

from umbel.utils.log import base_logger, task_logger

__all__ = [
    "RESERVED_LOGGER_NAMES",
    "current_process",
    "current_process_index",
    "get_multiprocessing_logger",
    "iter_open_logger_fds",
    "logger_isa",
    "reset_multiprocessing_logger",
]

RESERVED_LOGGER_NAMES = {base_logger.name, task_logger.name}

current_process = multiprocessing.current_process


def current_process_index(base: int = 1) -> int | None:
    """The number of this process among its siblings, counted from ``base``; None: it has none."""
    identity: tuple[int, ...] = getattr(current_process(), "_identity", ())
    return identity[-1] - 1 + base if identity else None


def get_multiprocessing_logger() -> logging.Logger:
    """The logger of the module that makes child processes."""
    return multiprocessing.get_logger()


def reset_multiprocessing_logger() -> None:
    """Undo what was set up on that logger."""
    logger = multiprocessing.get_logger()
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


def iter_open_logger_fds() -> Iterator[Any]:
    """The files that logs go to, each once."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {
        id(handler): handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }
    return (stream for one in handlers.values() if (stream := getattr(one, "stream", None)))


def logger_isa(l: logging.Logger, p: logging.Logger, max: int = 1000) -> bool:  # noqa: E741
    """Whether ``p`` is a logger, or above it.

    Raises:
        RuntimeError: It is above itself.
    """
    above: logging.Logger | None = l
    for _ in range(max):
        if above is None or above is p:
            return above is p
        above = above.parent
        if above is l:
            raise RuntimeError(f"Logger {l.name!r} parents recursive")
    return False
