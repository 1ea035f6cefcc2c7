"""The options that services share: ``worker``, ``beat`` and ``events``.

What they say about the process ends in :class:`umbel.cli.daemon.Surroundings`; going into the
background is :mod:`umbel.cli.detaching`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["log_json_option", "logfile_option", "loglevel_option", "process_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


def loglevel_option(says: str = "What to log.") -> Callable[[_F], _F]:
    """``--loglevel``.

    Args:
        says: Its help.
    """
    return click.option(
        "-l",
        "--loglevel",
        type=click.Choice(_LEVELS, case_sensitive=False),
        default="WARNING",
        show_default=True,
        help=says,
    )


def logfile_option(says: str = "The log file; standard error by default.") -> Callable[[_F], _F]:
    """``--logfile``.

    Args:
        says: Its help.
    """
    return click.option("-f", "--logfile", help=says)


def log_json_option(function: _F) -> _F:
    """``--log-json``."""
    return click.option("--log-json", is_flag=True, help="Write each log line as a JSON object.")(
        function
    )


def process_options(function: _F) -> _F:
    """``--pidfile``, ``--uid``, ``--gid`` and ``--umask``."""
    for name, says in (
        # The last one is shown first.
        ("--umask", "The file mode mask, in octal."),
        ("--gid", "The group to become."),
        ("--uid", "The user to become."),
        ("--pidfile", "The file to write the process id to."),
    ):
        function = click.option(name, help=says)(function)
    return function
