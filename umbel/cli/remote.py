"""``umbel status``, ``umbel inspect`` and ``umbel control``: asking and steering workers.

Source:
    Celery reference, "Command Line Interface": options, forms of output and exit codes.
"""

from __future__ import annotations

import json as stdlib_json
from collections.abc import Callable, Sequence
from pprint import pformat
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from umbel.cli.options import Names, UmbelCommand, as_json
from umbel.cli.session import Session, pass_session
from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.text import indent, pluralize

if TYPE_CHECKING:
    from umbel.worker.commands.registry import CommandInfo

__all__ = ["control", "inspect", "status"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Kind = Literal["inspect", "control"]

_UNAVAILABLE = 69


class NoReplies(click.ClickException):
    """Nobody has replied."""

    exit_code = _UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("No nodes replied within time constraint")


def _remote_options(function: _F) -> _F:
    destination = click.option("-d", "--destination", type=Names(), help="Ask these workers only.")
    timeout = click.option(
        "-t",
        "--timeout",
        type=float,
        help="Seconds without a reply after which nobody waits for more.  [default: 1.0]",
    )
    json = click.option("-j", "--json", "json", is_flag=True, help="Print JSON.")
    return timeout(destination(json(function)))


@click.command(cls=UmbelCommand)
@_remote_options
@pass_session
def status(
    session: Session,
    /,
    timeout: float | None,
    destination: Sequence[str] | None,
    json: bool,
) -> None:
    """Show the workers that are online."""
    replies = _ask(session, "ping", {}, timeout or 1.0, destination, show=not json, body=False)
    if json:
        click.echo(as_json(replies))
    _count(session, replies)


def _list_option(kind: _Kind) -> Callable[[_F], _F]:
    def show(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if not wanted or context.resilient_parsing:
            return
        rows = [
            (f"{name} {info.signature}" if info.signature else name, info.help)
            for name, info in _commands(context.ensure_object(Session), kind).items()
        ]
        formatter = click.HelpFormatter()
        with formatter.section(f"{kind.capitalize()} Commands"):
            formatter.write_dl(rows)
        click.echo(formatter.getvalue(), nl=False)
        context.exit()

    return click.option(
        "--list",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help=f"Show the {kind} commands there are.",
    )


@click.command(cls=UmbelCommand, context_settings={"allow_extra_args": True})
@click.argument("command")
@_list_option("inspect")
@_remote_options
@click.pass_context
def inspect(
    context: click.Context,
    /,
    command: str,
    timeout: float | None,
    destination: Sequence[str] | None,
    json: bool,
) -> None:
    """Ask workers. COMMAND is one of those that --list shows; its arguments follow."""
    replies = _send(context, "inspect", command, timeout, destination, show=not json)
    if json:
        click.echo(as_json(replies))
    else:
        _count(context.ensure_object(Session), replies)


@click.command(cls=UmbelCommand, context_settings={"allow_extra_args": True})
@click.argument("command")
@_list_option("control")
@_remote_options
@click.pass_context
def control(
    context: click.Context,
    /,
    command: str,
    timeout: float | None,
    destination: Sequence[str] | None,
    json: bool,
) -> None:
    """Steer workers. COMMAND is one of those that --list shows; its arguments follow."""
    if command == "shutdown" and not context.args:
        # As Celery's, workers end without a word: whoever waited for one would take it for failure.
        session = context.ensure_object(Session)
        session.app.control.shutdown(list(destination) if destination else None)
        click.echo("[]" if json else "Told to shut down; workers do not answer that.")
        return
    replies = _send(context, "control", command, timeout, destination, show=not json)
    if json:
        # A list, as Celery's: it is what app.control.broadcast returns.
        click.echo(as_json([{node: value} for node, value in replies.items()]))


def _send(
    context: click.Context,
    kind: _Kind,
    command: str,
    timeout: float | None,
    destination: Sequence[str] | None,
    *,
    show: bool,
) -> dict[str, Any]:
    """Ask for a command, with what stands behind its name as its arguments."""
    session = context.ensure_object(Session)
    info = _info(session, kind, command)
    arguments = _arguments(info, command, context.args)
    patience = timeout or max(1.0, info.default_timeout)
    return _ask(session, command, arguments, patience, destination, show=show)


def _ask(
    session: Session,
    command: str,
    arguments: dict[str, Any],
    timeout: float,
    destination: Sequence[str] | None,
    *,
    show: bool,
    body: bool = True,
) -> dict[str, Any]:
    """Ask, show what comes as it comes, and return all of it.

    Raises:
        NoReplies: Nothing has come.
    """
    # Only commands that ask workers need it.
    from umbel.app.control import flatten_reply

    def tell(reply: dict[str, Any]) -> None:
        for node, value in reply.items():
            _say(session, node, value, body=body)

    replies = session.app.control.broadcast(
        command,
        arguments,
        destination,
        reply=True,
        timeout=timeout,
        callback=tell if show else None,
    )
    if not replies:
        raise NoReplies
    return flatten_reply(replies)


def _commands(session: Session, kind: _Kind) -> dict[str, CommandInfo]:
    """The commands there are, those of the app's modules included."""
    # Workers' commands: nothing else of the command line needs them.
    from umbel.worker.commands import Panel

    session.import_tasks()
    return {
        name: info
        for name, info in sorted(Panel.meta.items())
        if info.type == kind and info.visible
    }


def _info(session: Session, kind: _Kind, command: str) -> CommandInfo:
    known = _commands(session, kind)
    if command not in known:
        raise click.UsageError(
            f"Command {command} not recognized. Available {kind} commands: {', '.join(known)}"
        )
    return known[command]


def _arguments(info: CommandInfo, command: str, given: Sequence[str]) -> dict[str, Any]:
    """The command's arguments by name, made of what stands on the command line.

    Raises:
        UsageError: There are too many, or one cannot be read.
    """
    named = list(info.args or ())
    if len(given) > len(named) and info.variadic is None:
        expected = f"arguments: {info.signature}" if info.signature else "no arguments"
        raise click.UsageError(f"Command {command!r} takes {expected}")
    arguments: dict[str, Any] = {}
    for (name, make), text in zip(named, given, strict=False):
        try:
            arguments[name] = text if make is None else make(text)
        except ValueError as error:
            raise click.UsageError(f"{name} cannot be {text!r}: {error}") from error
    if info.variadic is not None:
        arguments[info.variadic] = list(given[len(named) :])
    return arguments


def _say(session: Session, node: str, value: Any, *, body: bool) -> None:
    word, text = _pretty(session, value)
    arrow = "" if session.quiet else f"{_style(session, '->', bold=True)} "
    _echo(session, f"{arrow} {_style(session, f'{node}: ', fg='cyan', bold=True)}{word}")
    if body and text:
        _echo(session, indent(text, 4))


def _pretty(session: Session, value: Any) -> tuple[str, str]:
    """Whether all is well, in a word, and the rest of a reply, as text."""
    good = _style(session, "OK", fg="green", bold=True)
    if is_list(value):
        return good, "\n".join(f"* {item}" for item in value) or "- empty -"
    if is_dict(value):
        for key, word in (("ok", good), ("error", _style(session, "ERROR", fg="red", bold=True))):
            if key in value:
                return word, indent(_pretty(session, value[key])[1], 4)
        return good, stdlib_json.dumps(value, sort_keys=True, indent=4, default=repr)
    return good, value if isinstance(value, str) else pformat(value)


def _count(session: Session, replies: dict[str, Any]) -> None:
    number = len(replies)
    session.say(f"\n{number} {pluralize(number, 'node')} online.")


def _style(session: Session, text: str, **style: Any) -> str:
    return text if session.no_color else click.style(text, **style)


def _echo(session: Session, text: str) -> None:
    click.echo(text, color=False if session.no_color else None)
