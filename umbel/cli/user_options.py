"""Options that an app adds to the command line: ``app.user_options``.

Source:
    Celery user guide, Extensions and Bootsteps, "Command-line programs"; Signals,
    ``user_preload_options``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from umbel.cli.session import Session

__all__ = ["added", "found_early", "taken"]

_PRELOAD = "preload"
"""The options that every command has."""
_WITH_OWN = {"worker", "beat", "events"}
"""Commands that an app may add options to."""
_WITHOUT = {"doctor", "multi"}
"""Commands that look at apps that are not ours, or pass on what they do not know."""


def added(command: str | None, session: Session) -> list[click.Parameter]:
    """The options that the app adds to a command, if there is an app.

    Raises:
        AppNotFound: There is none of the name that was given.
    """
    if command in _WITHOUT or not session.has_app:
        return []
    options = session.app.user_options
    kinds = [command, _PRELOAD] if command in _WITH_OWN else [_PRELOAD]
    return [
        option
        for kind in kinds
        for option in sorted(options.get(kind or "", ()), key=lambda option: str(option.name))
    ]


def taken(ctx: click.Context, session: Session, options: Sequence[click.Parameter]) -> None:
    """Take the values of added options out of the command's, and tell who waits for them."""
    values = {option.name: ctx.params.pop(option.name, None) for option in options if option.name}
    app = session.app
    preload = {option.name for option in app.user_options.get(_PRELOAD, ())}
    if preload:
        # Signals are not for --help.
        from umbel.signals import user_preload_options

        told = {name: value for name, value in values.items() if name in preload}
        user_preload_options.send(sender=ctx.command.callback, app=app, options=told)
    session.user_options = {name: values[name] for name in values.keys() - preload}


def found_early(args: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What among a command's arguments has a say in which app it is, by the option's name; and
    the arguments without the folder to change to, which may be named only once.

    Arguments that cannot be told apart without the app's own options are left for later.

    >>> found_early(["-l", "INFO", "-Aproj", "--", "-A", "other"])
    ({'app': 'proj'}, ['-l', 'INFO', '-Aproj', '--', '-A', 'other'])
    """
    found: dict[str, str] = {}
    rest = list(args)
    end = rest.index("--") if "--" in rest else len(rest)
    index = 0
    while index < end:
        word = rest[index]
        name, equals, value = word.partition("=")
        chosen = value if equals else "".join(rest[index + 1 : index + 2])
        if word == "--as-celery":
            found["as_celery"] = word
        elif name == "--workdir" and Path(chosen).is_dir():
            found["workdir"] = chosen
            del rest[index : index + (1 if equals else 2)]
            end -= 1 if equals else 2
            continue
        elif name in {"--app", "--loader"} or word == "-A":
            found["app" if word == "-A" else name[2:]] = chosen
        elif word.startswith("-A"):
            found["app"] = word[2:]
        index += 1
    return found, rest
