"""``app.log``: where the log goes and what it looks like.

Source:
    Celery user guide, "Logging" and Signals, "Logging signals"; Celery reference,
    ``celery.app.log``: names and behaviour.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from umbel import signals
from umbel.app.json_lines import JsonFormatter
from umbel.app.log_files import LogFile
from umbel.execution import context
from umbel.utils.log import (
    ColorFormatter,
    LoggingProxy,
    base_logger,
    get_logger,
    mlevel,
    task_logger,
)
from umbel.utils.nodenames import node_format

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Logging", "TaskContext", "TaskFormatter"]

_REDIRECTED = "umbel.redirected"
_OUTSIDE = "???"


class TaskContext(logging.Filter):
    """Gives records the id and the name of the task that runs: ``task_id``, ``task_name``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if "task_id" not in record.__dict__:
            run = context.current()
            record.__dict__.update(
                task_id=run.request.id if run else _OUTSIDE,
                task_name=run.task.name if run else _OUTSIDE,
            )
        return True


_task_context = TaskContext()


class TaskFormatter(ColorFormatter):
    """A format that may name ``%(task_id)s`` and ``%(task_name)s``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; question marks where no task runs."""
        _task_context.filter(record)
        return super().format(record)


class Logging:
    """Sets up logging as the settings say."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        conf = app.conf
        self.loglevel = mlevel("WARNING")
        self.format: str = conf.worker_log_format
        self.task_format: str = conf.worker_task_log_format
        self.datefmt: str | None = conf.worker_log_datefmt
        self.task_datefmt: str | None = conf.worker_task_log_datefmt
        self.colorize: bool | None = conf.worker_log_color
        self.json: bool = conf.worker_log_json
        self.already_setup = False
        self.given: dict[str, Any] | None = None
        """What :meth:`setup` was called with; for processes that are to log in the same way."""

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        redirect_stdouts: bool = False,
        redirect_level: int | str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> bool:
        """Set up logging, and have standard output go there if asked to.

        Args:
            hostname: The node name that ``%n`` and the like in ``logfile`` stand for.

        Returns:
            Whether a receiver of ``setup_logging`` has set it up instead.
        """
        self.given = {
            "loglevel": loglevel,
            "logfile": logfile,
            "redirect_stdouts": redirect_stdouts,
            "redirect_level": redirect_level,
            "colorize": colorize,
            "hostname": hostname,
        }
        handled = self.setup_logging_subsystem(
            loglevel, logfile, colorize=colorize, hostname=hostname
        )
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        return handled

    def setup_in_child(self) -> None:
        """Log to the file of this process, where the name of the log file has its number in it
        (``%i``, ``%I``); for a process of the pool that was copied with its parent's logging.

        Source:
            Celery user guide, Workers, "Prefork pool process index".
        """
        if self.given is not None and "%i" in (self.given["logfile"] or "").lower():
            self.already_setup = False
            self.setup(**self.given)

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> bool:
        """Set up the loggers once, unless a receiver of ``setup_logging`` does; says whether."""
        if self.already_setup:
            return False
        self.already_setup = True
        if logfile and hostname:
            logfile = node_format(logfile, hostname)
        level = mlevel(loglevel or self.loglevel)
        format = format or self.format
        colorize = self.supports_color(colorize, logfile)
        told = {"loglevel": level, "logfile": logfile, "format": format, "colorize": colorize}
        logging.captureWarnings(True)
        if signals.setup_logging.send(sender=None, **told):
            return True
        root = logging.getLogger()
        if self.app.conf.worker_hijack_root_logger:
            for logger in (root, base_logger, task_logger, logging.getLogger(_REDIRECTED)):
                logger.handlers = []
        self.setup_handlers(root, logfile, format, colorize, datefmt=datefmt or self.datefmt)
        root.setLevel(level)
        signals.after_setup_logger.send(sender=None, logger=root, **told)
        self.setup_task_loggers(level, logfile, colorize=colorize, **kwargs)
        return False

    def setup_task_loggers(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Set up the logger above all that tasks write to."""
        level = mlevel(loglevel or self.loglevel)
        format = format or self.task_format
        colorize = self.supports_color(colorize, logfile)
        self.setup_handlers(
            task_logger,
            logfile,
            format,
            colorize,
            formatter=TaskFormatter,
            datefmt=datefmt or self.task_datefmt,
        )
        task_logger.setLevel(level)
        task_logger.propagate = propagate
        signals.after_setup_task_logger.send(
            sender=None,
            logger=task_logger,
            loglevel=level,
            logfile=logfile,
            format=format,
            colorize=colorize,
        )
        return task_logger

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: str | TextIO | None,
        format: str,
        colorize: bool,
        formatter: type[ColorFormatter] = ColorFormatter,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Give a logger a handler that writes to the file, or to standard error."""
        if logger.handlers:
            return logger
        if isinstance(logfile, str):
            handler: logging.Handler = LogFile(logfile, encoding="utf-8")
        else:
            # What has been redirected into the log would come back to it.
            redirected = isinstance(sys.stderr, LoggingProxy)
            handler = logging.StreamHandler(
                logfile or (sys.__stderr__ if redirected else sys.stderr)
            )
        handler.setFormatter(
            JsonFormatter(datefmt=datefmt)
            if self.json
            else formatter(format, use_color=colorize, datefmt=datefmt)
        )
        handler.addFilter(_task_context)
        logger.addHandler(handler)
        return logger

    def redirect_stdouts(self, loglevel: int | str | None = None, name: str = _REDIRECTED) -> None:
        """Have what is printed go to a logger of that name."""
        self.redirect_stdouts_to_logger(get_logger(name), loglevel)

    def redirect_stdouts_to_logger(
        self,
        logger: logging.Logger,
        loglevel: int | str | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> LoggingProxy:
        """Have what is printed go to a logger."""
        proxy = LoggingProxy(logger, loglevel or logging.WARNING)
        # A file in all that printing needs; the type says "a file of the operating system".
        file = cast("TextIO", proxy)
        if stdout:
            sys.stdout = file
        if stderr:
            sys.stderr = file
        return proxy

    def supports_color(
        self, colorize: bool | None = None, logfile: str | TextIO | None = None
    ) -> bool:
        """Whether to colour: if asked to and it is a terminal."""
        if colorize is None:
            colorize = self.colorize
        if colorize is False or os.environ.get("NO_COLOR") or sys.platform == "win32":
            return False
        return logfile is None and sys.__stderr__ is not None and sys.__stderr__.isatty()

    def get_default_logger(self, name: str = "umbel", **kwargs: Any) -> logging.Logger:
        """The logger of that name."""
        return get_logger(name)
