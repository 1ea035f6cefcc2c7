"""What commands find as ``ctx.obj``, and how they fail.

Source:
    Celery reference, ``celery.bin.base``: names, forms of what is printed, exit codes.
"""

from __future__ import annotations

import importlib
import json
from functools import cached_property
from pprint import pformat
from typing import Any, NoReturn

import click

from umbel.app.current import get_current_app
from umbel.compat.moved import CeleryCommandException, try_import
from umbel.compat.platforms.machine import EX_UNAVAILABLE
from umbel.exceptions import OperationalError
from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.text import indent

__all__ = ["CLIContext", "handle_remote_command_error", "highlight"]


def highlight(code: str, lexer: Any = None, formatter: Any = None) -> str:
    """Code in colours, where pygments is installed.

    Args:
        lexer: None: Python's.
        formatter: None: for a terminal.
    """
    # Optional.
    pygments = try_import("pygments")
    if pygments is None:
        return code
    shown: str = pygments.highlight(
        code,
        lexer or importlib.import_module("pygments.lexers").PythonLexer(),
        formatter or importlib.import_module("pygments.formatters").Terminal256Formatter(),
    )
    return shown


class CLIContext:
    """The app, and how to talk to whoever has typed the command.

    Args:
        app: None: the current one.
        workdir: The folder that was changed to.
    """

    def __init__(self, app: Any, no_color: bool, workdir: str | None, quiet: bool = False) -> None:
        self.app = app or get_current_app()
        self.no_color = no_color
        self.quiet = quiet
        self.workdir = workdir

    @cached_property
    def OK(self) -> Any:  # noqa: N802 - Celery's name
        """``OK`` in green."""
        return self.style("OK", fg="green", bold=True)

    @cached_property
    def ERROR(self) -> Any:  # noqa: N802 - Celery's name
        """``ERROR`` in red."""
        return self.style("ERROR", fg="red", bold=True)

    def style(self, message: Any = None, **kwargs: Any) -> Any:
        """A text in colours, as :func:`click.style` makes it."""
        return message if self.no_color else click.style(message, **kwargs)

    def secho(self, message: Any = None, **kwargs: Any) -> None:
        """Print a text in colours, as :func:`click.secho` does."""
        self._print(message, kwargs, colored=True)

    def echo(self, message: Any = None, **kwargs: Any) -> None:
        """Print a text."""
        self._print(message, kwargs, colored=False)

    def error(self, message: Any = None, **kwargs: Any) -> None:
        """Print a text in colours to standard error."""
        self._print(message, {**kwargs, "err": True}, colored=True)

    def _print(self, message: Any, options: dict[str, Any], *, colored: bool) -> None:
        if self.no_color:
            # What is for click.style alone means nothing to click.echo.
            plain = {name: options[name] for name in ("file", "nl", "err") if name in options}
            click.echo(message, color=False, **plain)
        else:
            (click.secho if colored else click.echo)(message, **options)

    def pretty(self, n: Any) -> tuple[str, str]:
        """A reply for people: ``OK`` or ``ERROR``, and what it says."""
        if is_list(n) and not isinstance(n, tuple):
            return self.OK, self.pretty_list(n)
        if is_dict(n):
            if "ok" in n or "error" in n:
                return self.pretty_dict_ok_error(n)
            text = json.dumps(n, sort_keys=True, indent=4)
            return self.OK, text if self.no_color else highlight(text)
        return self.OK, n if isinstance(n, str) else pformat(n)

    def pretty_list(self, n: list[Any]) -> str:
        """A list for people: a line for each item."""
        if not n:
            return "- empty -"
        return "\n".join(f"{self.style('*', fg='white')} {item}" for item in n)

    def pretty_dict_ok_error(self, n: dict[str, Any]) -> tuple[str, str]:
        """A reply of the form ``{"ok": …}`` or ``{"error": …}`` for people."""
        word, said = (self.OK, n["ok"]) if "ok" in n else (self.ERROR, n["error"])
        return word, indent(self.pretty(said)[1], 4)

    def say_chat(self, direction: str, title: str, body: str = "", show_body: bool = False) -> None:
        """Print what goes to workers (``->``), or comes from them (``<-``) unless it is quiet."""
        if direction == "<-" and self.quiet:
            return
        arrow = "" if self.quiet else f"{self.style(direction, fg='white', bold=True)} "
        self.echo(f"{arrow} {title}")
        if body and show_body:
            self.echo(body)


def handle_remote_command_error(command: str, exc: Exception) -> NoReturn:
    """End a command that asks workers, because of an exception.

    Raises:
        CeleryCommandException: Always, unless it is an exception of click's: then that one.
    """
    if isinstance(exc, click.ClickException):
        raise exc
    if isinstance(exc, OperationalError):
        raise CeleryCommandException(
            "Could not connect to the message broker. Please make sure your broker (e.g., RabbitMQ "
            f"or Redis) is running and the connection settings are correct. Reason: {exc}",
            EX_UNAVAILABLE,
        ) from exc
    raise CeleryCommandException(
        f"Unable to run the `{command}` command. Reason: {exc}", EX_UNAVAILABLE
    ) from exc
