"""``umbel amqp``: single methods of AMQP 0-9-1, one at a time or from a prompt.

Source:
    Celery reference, "Command Line Interface", ``celery amqp``: names, order and defaults of the
    arguments.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable
from pprint import pformat
from typing import TYPE_CHECKING, Any, TypeVar

import click

from umbel.cli.options import UmbelCommand, UmbelGroup, as_json, json_option
from umbel.cli.session import Session
from umbel.exceptions import UmbelError
from umbel.utils.text import pluralize

if TYPE_CHECKING:
    from umbel.drivers.rabbitmq.console import Console

__all__ = ["amqp"]

T = TypeVar("T")

_LEAVE = {":q", ":quit", ":exit", "exit", "quit"}


class Desk:
    """The connection that all methods of one run are said over."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._console: Console | None = None

    def do(self, act: Callable[[Console], Awaitable[T]]) -> T:
        """Connect, unless that was done before, and do something."""
        app = self.session.app

        async def work() -> T:
            if self._console is None:
                console: Console = app.make_console()
                await console.open()
                self._console = console
            return await act(self._console)

        return self.session.run(work, app.broker_url)

    def close(self) -> None:
        """Disconnect."""
        console = self._console
        if console is not None:
            self.session.run(console.close, self.session.app.broker_url)

    def answer(self, json: bool, about: dict[str, Any], text: str = "") -> None:
        """Say what came of it."""
        if json:
            click.echo(as_json(about))
            return
        if text:
            click.echo(text)
        self.session.say("OK")


pass_desk = click.make_pass_decorator(Desk)


@click.group(cls=UmbelGroup, invoke_without_command=True)
@click.pass_context
def amqp(context: click.Context) -> None:
    """Declare, bind, purge and delete in RabbitMQ; publish and get single messages.

    Without a command there is a prompt. Flags are positional: true or false.
    """
    session = context.find_object(Session)
    assert session is not None, "the command line always has one"
    desk = context.obj = Desk(session)
    context.call_on_close(desk.close)
    if context.invoked_subcommand is None:
        context.invoke(repl)


_exchange = click.argument("exchange")
_queue = click.argument("queue")
_routing_key = click.argument("routing_key")


def _flag(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.argument(name, type=bool, default=False)


@amqp.command("exchange.declare", cls=UmbelCommand)
@_exchange
@click.argument("type")
@_flag("passive")
@_flag("durable")
@_flag("auto_delete")
@json_option
@pass_desk
def exchange_declare(desk: Desk, /, exchange: str, type: str, json: bool, **flags: bool) -> None:
    """Make an exchange exist; PASSIVE: only see whether it does."""
    desk.do(lambda console: console.declare_exchange(exchange, type, **flags))
    desk.answer(json, {"exchange": exchange})


@amqp.command("exchange.delete", cls=UmbelCommand)
@_exchange
@_flag("if_unused")
@json_option
@pass_desk
def exchange_delete(desk: Desk, /, exchange: str, if_unused: bool, json: bool) -> None:
    """Delete an exchange."""
    desk.do(lambda console: console.delete_exchange(exchange, if_unused=if_unused))
    desk.answer(json, {"exchange": exchange})


@amqp.command("queue.bind", cls=UmbelCommand)
@_queue
@_exchange
@_routing_key
@json_option
@pass_desk
def queue_bind(desk: Desk, /, queue: str, exchange: str, routing_key: str, json: bool) -> None:
    """Let what is sent to EXCHANGE with ROUTING_KEY come to QUEUE."""
    desk.do(lambda console: console.bind_queue(queue, exchange, routing_key))
    desk.answer(json, {"queue": queue, "exchange": exchange, "routing_key": routing_key})


@amqp.command("queue.declare", cls=UmbelCommand)
@_queue
@_flag("passive")
@_flag("durable")
@_flag("auto_delete")
@json_option
@pass_desk
def queue_declare(desk: Desk, /, queue: str, json: bool, **flags: bool) -> None:
    """Make a queue exist, and count what is in it; PASSIVE: only count."""
    found = desk.do(lambda console: console.declare_queue(queue, **flags))
    about = {"queue": found.queue, "messages": found.messages, "consumers": found.consumers}
    desk.answer(json, about, " ".join(f"{name}:{value}" for name, value in about.items()))


@amqp.command("queue.delete", cls=UmbelCommand)
@_queue
@_flag("if_unused")
@_flag("if_empty")
@json_option
@pass_desk
def queue_delete(desk: Desk, /, queue: str, json: bool, **flags: bool) -> None:
    """Delete a queue with all that is in it."""
    count = desk.do(lambda console: console.delete_queue(queue, **flags))
    desk.answer(json, {"queue": queue, "deleted": count}, _deleted(count))


@amqp.command("queue.purge", cls=UmbelCommand)
@_queue
@json_option
@pass_desk
def queue_purge(desk: Desk, /, queue: str, json: bool) -> None:
    """Delete all messages of a queue that no worker has."""
    count = desk.do(lambda console: console.purge_queue(queue))
    desk.answer(json, {"queue": queue, "deleted": count}, _deleted(count))


@amqp.command("basic.get", cls=UmbelCommand)
@_queue
@_flag("no_ack")
@json_option
@pass_desk
def basic_get(desk: Desk, /, queue: str, no_ack: bool, json: bool) -> None:
    """Take a message. It goes back when this command, or its prompt, ends without basic.ack.

    NO_ACK: it is acknowledged at once.
    """
    found = desk.do(lambda console: console.get(queue, no_ack=no_ack))
    if json:
        click.echo(as_json(found))
    elif found is None:
        desk.answer(json, {}, "No messages in queue. basic.publish something.")
    else:
        desk.answer(json, {}, pformat(found))


@amqp.command("basic.publish", cls=UmbelCommand)
@click.argument("msg")
@_exchange
@_routing_key
@_flag("mandatory")
@_flag("immediate")
@json_option
@pass_desk
def basic_publish(
    desk: Desk,
    /,
    msg: str,
    exchange: str,
    routing_key: str,
    mandatory: bool,
    immediate: bool,
    json: bool,
) -> None:
    """Publish a text, and wait until RabbitMQ has it. MANDATORY: fail if it reaches no queue.

    An empty EXCHANGE ('') sends to the queue that is called ROUTING_KEY.
    """
    if immediate:
        raise click.UsageError("RabbitMQ has no 'immediate' publications any more: leave it out.")
    desk.do(lambda console: console.publish(msg, exchange, routing_key, mandatory=mandatory))
    desk.answer(json, {"exchange": exchange, "routing_key": routing_key})


@amqp.command("basic.ack", cls=UmbelCommand)
@click.argument("delivery_tag", type=int)
@json_option
@pass_desk
def basic_ack(desk: Desk, /, delivery_tag: int, json: bool) -> None:
    """Acknowledge a message that basic.get gave at the same prompt."""
    desk.do(lambda console: console.ack(delivery_tag))
    desk.answer(json, {"delivery_tag": delivery_tag})


@amqp.command(cls=UmbelCommand)
@click.pass_context
def repl(context: click.Context) -> None:
    """Say several things over one connection: a command on each line, ':q' to leave."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            words = shlex.split(input(prompt), comments=True)
        except EOFError:
            return
        except ValueError as error:
            click.echo(f"Error: {error}.", err=True)
            continue
        if words and words[0] in _LEAVE:
            return
        if words:
            _say(context, words)


def _say(context: click.Context, words: list[str]) -> None:
    """Do what a line says. Whatever goes wrong with it is told, and the next line can come."""
    if words[0] in {"help", ":help", "?", ":h"}:
        click.echo("\n".join(name for name in sorted(amqp.commands) if name != "repl"))
        return
    command = amqp.get_command(context, words[0])
    if command is None or command is repl:
        click.echo(f"Error: there is no command {words[0]!r}: see 'help'.", err=True)
        return
    try:
        with command.make_context(words[0], words[1:], parent=context) as inner:
            command.invoke(inner)
    except click.exceptions.Exit:
        # After --help.
        return
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
    except UmbelError as error:
        click.echo(f"Error: {error}", err=True)


def _deleted(count: int) -> str:
    return f"{count} {pluralize(count, 'message')} deleted."
