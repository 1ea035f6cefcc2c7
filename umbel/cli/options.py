"""The options that every command has, and how options are read from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from umbel.app.configuring.suggestions import did_you_mean
from umbel.cli import user_options
from umbel.cli.session import Session
from umbel.exceptions import ImproperlyConfigured, UmbelError, UnknownSetting

__all__ = [
    "Kind",
    "Names",
    "UmbelCommand",
    "UmbelGroup",
    "as_json",
    "global_options",
    "json_option",
    "setting_of_argument",
]

_PREFIXES = ("UMBEL", "CELERY")
_ADDED = "umbel.cli.added"
"""Where a command's context keeps the options that the app adds."""


if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    # Generic only since click 8.3.
    Kind = click.ParamType


class Names(Kind):
    """Names separated by commas."""

    name = "a,b,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """The names."""
        parts = value.split(",") if isinstance(value, str) else value
        return [name for part in parts if (name := part.strip())]


class _Truth(Kind):
    """A flag, also where an environment variable is merely set: ``NO_COLOR=``."""

    name = "flag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Whether it is on."""
        if isinstance(value, bool):
            return value
        return str(value).strip().lower() not in {"", "0", "false", "no", "off"}


def _remember(use: Callable[[Session, Any], None]) -> Callable[..., None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is None or value is False or context.resilient_parsing:
            return
        use(context.ensure_object(Session), value)

    return callback


def _use_app(session: Session, name: str) -> None:
    session.app_name = name


def _use_loader(_session: Session, name: str) -> None:
    # The app that is to use it is made later, by importing a module.
    os.environ["UMBEL_LOADER"] = name


def _use_workdir(_session: Session, path: str) -> None:
    os.chdir(path)


def _use_no_color(session: Session, _value: bool) -> None:
    session.no_color = True


def _use_quiet(session: Session, _value: bool) -> None:
    session.quiet = True


def _use_alias(_session: Session, _value: bool) -> None:
    # Everyone else starts without it.
    from umbel.compat.alias import install

    install()


def _skip_checks(_session: Session, _value: bool) -> None:
    # Where Django's fixup looks, here and in the processes that are started.
    os.environ["UMBEL_SKIP_CHECKS"] = "true"


_GLOBAL: tuple[tuple[Sequence[str], dict[str, Any], tuple[str, ...]], ...] = (
    (
        ("-A", "--app"),
        {"metavar": "APP", "help": "The app: a module, module:attribute, or a package."},
        ("APP",),
    ),
    (("-b", "--broker"), {"metavar": "URL", "help": "The broker."}, ("BROKER_URL",)),
    (("--result-backend",), {"metavar": "URL", "help": "The result backend."}, ("RESULT_BACKEND",)),
    (
        ("--loader",),
        {"help": "How configuration and modules are found: default, app or module:class."},
        ("LOADER",),
    ),
    (("--config",), {"metavar": "MODULE", "help": "The configuration."}, ("CONFIG_MODULE",)),
    (
        ("--workdir",),
        {
            "type": click.Path(exists=True, file_okay=False),
            "is_eager": True,
            "help": "The folder to change to first.",
        },
        (),
    ),
    (
        ("-C", "--no-color"),
        {"is_flag": True, "type": _Truth(), "default": None, "help": "Use no colours."},
        ("NO_COLOR",),
    ),
    (("-q", "--quiet"), {"is_flag": True, "default": None, "help": "Say less."}, ()),
    (
        ("--as-celery",),
        {
            "is_flag": True,
            "type": _Truth(),
            "default": None,
            "is_eager": True,
            "help": "Let 'import celery' mean umbel.",
        },
        (),
    ),
    (
        ("--skip-checks",),
        {"is_flag": True, "type": _Truth(), "default": None, "help": "Skip checks of Django."},
        ("SKIP_CHECKS",),
    ),
)

_USES: dict[str, Callable[[Session, Any], None]] = {
    "app": _use_app,
    "broker": lambda session, url: session.export("broker", url),
    "result_backend": lambda session, url: session.export("result_backend", url),
    "loader": _use_loader,
    "config": lambda session, module: session.export("config", module),
    "workdir": _use_workdir,
    "no_color": _use_no_color,
    "quiet": _use_quiet,
    "as_celery": _use_alias,
    "skip_checks": _skip_checks,
}


def global_options(*, from_environment: bool) -> list[click.Parameter]:
    """The options that are understood before and after the name of a command.

    Args:
        from_environment: Whether variables are read too: once is enough, and what stands before
            the command wins over them.
    """
    made: list[click.Parameter] = []
    for flags, keywords, bare in _GLOBAL:
        option = click.Option(flags, expose_value=False, **keywords)
        assert option.name is not None, "the flags give the name"
        option.callback = _remember(_USES[option.name])
        if from_environment:
            own = [f"{prefix}_{option.name.upper()}" for prefix in _PREFIXES]
            option.envvar = [*own, *bare]
        made.append(option)
    return made


class UmbelCommand(click.Command):
    """A command that has the global options, and reads its own from the environment.

    ``-c`` of ``worker`` is read from ``UMBEL_WORKER_CONCURRENCY``, else
    ``CELERY_WORKER_CONCURRENCY``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None:
                variable = f"{self.name}_{parameter.name}".upper()
                parameter.envvar = [f"{prefix}_{variable}" for prefix in _PREFIXES]
        self._own = len(self.params)
        self.params.extend(global_options(from_environment=False))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, those that the app adds included."""
        return [*super().get_params(ctx), *_added(ctx)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the app first, which may know options that we do not."""
        session = ctx.find_object(Session)
        if session is not None and not ctx.resilient_parsing:
            try:
                early, args = user_options.found_early(args)
                for name in sorted(early, reverse=True):
                    _USES[name](session, early[name])
                ctx.meta[_ADDED] = user_options.added(self.name, session)
            except (UmbelError, ImportError, OSError):
                # Help is for those, too, who have yet to find out what to say.
                if not any(word in ctx.help_option_names for word in args):
                    raise
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; the values of what the app adds go to the app."""
        if _added(ctx):
            user_options.taken(ctx, ctx.ensure_object(Session), _added(ctx))
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, those that the app adds, and those of all commands."""
        parameters, added = self.get_params(ctx), _added(ctx)
        known = parameters[: len(parameters) - len(added)]
        for title, parameters in (
            ("Options", known[: self._own]),
            ("Options of the app", added),
            ("Global options", known[self._own :]),
        ):
            records = [
                record
                for parameter in parameters
                if (record := parameter.get_help_record(ctx)) is not None
            ]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _added(ctx: click.Context) -> list[click.Parameter]:
    found: list[click.Parameter] = ctx.meta.get(_ADDED, [])
    return found


class UmbelGroup(click.Group):
    """A group of commands that knows what one has probably meant."""

    command_class = UmbelCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error with the most similar names."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            question = did_you_mean(name, known, count=3)
            raise click.UsageError(
                f"there is no command {name!r}.{question} There are: {', '.join(known)}.", ctx
            )
        return super().resolve_command(ctx, args)


def as_json(value: object) -> str:
    """A value as JSON for programs: a line; what JSON cannot say becomes its ``repr``."""
    # Programs ask for JSON, people do not.
    import msgspec

    return msgspec.json.encode(value, enc_hook=repr).decode()


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``: print for programs instead of people."""
    return click.option("--json", "json", is_flag=True, help="Print JSON.")(function)


def setting_of_argument(text: str, prefix: str) -> tuple[str, Any]:
    """A setting given as ``name=value``; a ``(type)`` before the value is not needed.

    Args:
        prefix: What its name may lack.

    Raises:
        UsageError: There is no such setting, or it cannot have that value.
    """
    # The table of settings is not for --help.
    from umbel.app.configuring.settings import setting_of
    from umbel.app.configuring.values import parsed

    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is neither an option nor SETTING=VALUE.")
    name = name.lstrip("._")
    if value.startswith("(") and ")" in value:
        value = value.partition(")")[2]
    try:
        try:
            setting = setting_of(f"{prefix}{name}")
        except UnknownSetting:
            setting = setting_of(name)
        return setting.name, parsed(setting, value, "set on the command line")
    except ImproperlyConfigured as error:
        raise click.UsageError(str(error)) from error
