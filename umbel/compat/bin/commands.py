"""Commands and their options.

Source:
    Celery reference, ``celery.bin.base``: names and behaviour.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from umbel.signals import user_preload_options

__all__ = [
    "CeleryCommand",
    "CeleryDaemonCommand",
    "CeleryOption",
    "DaemonOption",
    "consume_preload_options",
    "handle_preload_options",
]

_OTHERS = "Options"


class CeleryOption(click.Option):
    """An option that may be shown under a title, and whose default may be the context's.

    Args:
        help_group: The title.
        default_value_from_context: The key of the default in ``ctx.obj``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.help_group: str | None = kwargs.pop("help_group", None)
        self.default_value_from_context: str | None = kwargs.pop("default_value_from_context", None)
        super().__init__(*args, **kwargs)

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:
        """The context's, if it is to be that."""
        if self.default_value_from_context:
            self.default = ctx.obj[self.default_value_from_context]
        return super().get_default(ctx, call)


class CeleryCommand(click.Command):
    """A command whose options are shown under their titles."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        records: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = getattr(parameter, "help_group", None) or _OTHERS
                records.setdefault(str(title), []).append(record)
        for title, rows in records.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class DaemonOption(CeleryOption):
    """An option that is a setting else: of ``worker_pidfile`` for ``--pidfile`` of ``worker``."""

    def __init__(self, *args: str, **kwargs: Any) -> None:
        kwargs.setdefault("help_group", "Daemonization Options")
        kwargs.setdefault("callback", self.daemon_setting)
        super().__init__(args, **kwargs)

    def daemon_setting(self, ctx: click.Context, opt: click.Parameter, value: Any) -> Any:
        """The value, else the setting; None where there is no such setting."""
        return value or getattr(ctx.obj.app.conf, f"{ctx.command.name}_{self.name}", None)


class CeleryDaemonCommand(CeleryCommand):
    """A command of a service: with options for its log, pid file and user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(
            (
                DaemonOption("--logfile", "-f", help="The log file; standard error by default."),
                DaemonOption("--pidfile", help="The file to write the process id to."),
                DaemonOption("--uid", help="The user to become."),
                DaemonOption("--gid", help="The group to become."),
                DaemonOption("--umask", help="The file mode mask, in octal."),
                DaemonOption("--executable", help="The Python to run in the background."),
            )
        )


def handle_preload_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose first argument is the context, and that sends ``user_preload_options``.

    Options that every command has, and that the function does not take, are taken away.
    """
    return _telling(f, lambda args: args[0])


def consume_preload_options(fun: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Likewise, of a command that may not be given the context."""
    return None if fun is None else _telling(fun, lambda _: click.get_current_context())


def _telling(
    function: Callable[..., Any], context_in: Callable[[tuple[Any, ...]], click.Context]
) -> Callable[..., Any]:
    if _tells(function):
        return function

    @wraps(function)
    def tell(*args: Any, **kwargs: Any) -> Any:
        app = context_in(args).obj.app
        names = [option.name for option in app.user_options.get("preload", ())]
        told = {name: kwargs[name] for name in names if name in kwargs}
        for name in told:
            if not _takes(function, name):
                del kwargs[name]
        if told:
            user_preload_options.send(sender=function, app=app, options=told)
        return function(*args, **kwargs)

    vars(tell)["_handles_preload_options"] = True
    return tell


def _tells(function: Any) -> bool:
    wrapped = function
    while wrapped is not None:
        if getattr(wrapped, "_handles_preload_options", False):
            return True
        wrapped = getattr(wrapped, "__wrapped__", None)
    return False


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return True
    found = parameters.get(name)
    return found is not None and found.kind is not found.POSITIONAL_ONLY
