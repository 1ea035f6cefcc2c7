"""Commands that other packages add, by entry points.

``umbel.commands``: click commands, whose ``ctx.obj.app`` is the app. ``celery.commands``: commands
made for Celery's command line, such as Flower's, which get what Celery gives them.

Source:
    Celery user guide, Extensions and Bootsteps, "Adding new command-line commands".
"""

from __future__ import annotations

import importlib
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.options import UmbelGroup
from umbel.cli.session import Session
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from click.shell_completion import CompletionItem

    from umbel.app.base import Umbel

__all__ = ["ExtendedGroup"]

_OURS, _CELERYS = "umbel.commands", "celery.commands"
_SHARED_DRIVERS = {"redis", "rabbitmq"}
"""Those whose brokers Celery reaches too."""


class ExtendedGroup(UmbelGroup):
    """A group whose commands may come from other packages.

    They are looked for when a name is not one of ours, and loaded when they are run.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of ours, else of another package."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = _added().get(cmd_name)
        return None if found is None else _load(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; what was made for Celery gets Celery's context."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and name not in self.commands and not ctx.resilient_parsing:
            found = _added().get(name)
            session = ctx.find_object(Session)
            wants_help = any(word in ctx.help_option_names for word in rest)
            if found is not None and found.group == _CELERYS and session and not wants_help:
                ctx.obj = _celery_context(session)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write our commands, then the names of those of others, which are not loaded for it."""
        super().format_commands(ctx, formatter)
        added = _added(without=self.commands)
        if added:
            with formatter.section("Commands of other packages"):
                formatter.write_dl([(name, _origin(found)) for name, found in added.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may follow; the names of other packages' commands, too."""
        # Only who completes needs it.
        from click.shell_completion import CompletionItem

        added = _added(without=self.commands)
        return [
            *super().shell_complete(ctx, incomplete),
            *(CompletionItem(name) for name in added if name.startswith(incomplete)),
        ]


def _added(without: Container[str] = ()) -> dict[str, EntryPoint]:
    """The entry points by name; ours win."""
    # Slow to import, and commands of ours do not need it.
    from importlib.metadata import entry_points

    made = {found.name: found for group in (_CELERYS, _OURS) for found in entry_points(group=group)}
    return {name: made[name] for name in sorted(made) if name not in without}


def _origin(found: EntryPoint) -> str:
    return f"of {found.dist.name} {found.dist.version}" if found.dist else f"of {found.value}"


def _load(found: EntryPoint) -> click.Command:
    try:
        command = found.load()
    except Exception as error:
        # Whatever another package does when it is imported.
        raise click.ClickException(
            f"the command {found.name!r} {_origin(found)} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"the command {found.name!r} {_origin(found)} is no command of click, but "
            f"{command!r:.80}."
        )
    return command


def _celery_context(session: Session) -> Any:
    """What commands made for Celery find as ``ctx.obj``.

    Where a real Celery is installed its own, with an app of Celery that is configured like ours;
    else, under the alias, what stands for it, with our app.
    """
    try:
        # Celery itself: the command has brought it, or the alias stands in for it.
        celery: Any = importlib.import_module("celery")
        base: Any = importlib.import_module("celery.bin.base")
    except ImportError:
        return session
    app: Any = session.app
    if not isinstance(app, celery.Celery):
        app = _as_celery(app, celery)
    return base.CLIContext(app=app, no_color=session.no_color, workdir=None, quiet=session.quiet)


def _as_celery(app: Umbel, celery: Any) -> Any:
    """An app of the real Celery with our broker, result backend and settings."""
    # The table of drivers is not for --help.
    from umbel.app.connecting.drivers import driver_of
    from umbel.app.connecting.urls import safe_url

    if driver_of(app.broker_url) not in _SHARED_DRIVERS:
        raise ImproperlyConfigured(
            f"this command reaches the broker by Celery's means, which {safe_url(app.broker_url)} "
            "is not within. Use it with Redis or RabbitMQ."
        )
    made = celery.Celery(app.main, broker=app.broker_url)
    conf = app.conf
    known = set(made.conf.keys()) - {"broker_url", "result_backend"}
    changed = conf.table(with_defaults=False)
    made.conf.update({name: conf[name] for name in changed if name in known})
    if app.backend_url.startswith(("redis", "rpc")):
        made.conf.result_backend = app.backend_url
    return made
