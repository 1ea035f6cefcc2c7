"""``umbel purge`` and ``umbel list``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from umbel.cli.options import Names, UmbelCommand, UmbelGroup, as_json, json_option
from umbel.cli.session import Session, pass_session
from umbel.utils.text import pluralize

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["list_group", "purge", "table"]


@click.command(cls=UmbelCommand)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("-Q", "--queues", type=Names(), help="These queues only.")
@click.option("-X", "--exclude-queues", type=Names(), default=(), help="All but these queues.")
@json_option
@pass_session
def purge(
    session: Session,
    /,
    force: bool,
    queues: Sequence[str] | None,
    exclude_queues: Sequence[str],
    json: bool,
) -> None:
    """Delete all tasks that wait in the queues of the app. They are lost."""
    app = session.app
    names = sorted(queue.name for queue in app.queues(queues, exclude_queues))
    if not names:
        raise click.UsageError("no queue is left to purge.")
    if not force:
        listed = ", ".join(names)
        click.confirm(
            f"This deletes all tasks that wait in {_count(len(names), 'queue')}: {listed}. "
            "There is no way back. Go on?",
            abort=True,
            err=True,
        )
    count = session.run(lambda: _purge(app, names), app.broker_url)
    if json:
        click.echo(as_json({"purged": count, "queues": names}))
    elif count:
        click.echo(f"Purged {_count(count, 'message')} from {_count(len(names), 'queue')}.")
    else:
        click.echo(f"No messages purged from {_count(len(names), 'queue')}.")


async def _purge(app: Umbel, names: Sequence[str]) -> int:
    broker = await app.connections.broker()
    return await broker.purge(names)


@click.group(cls=UmbelGroup, name="list")
def list_group() -> None:
    """Show what the app knows."""


@list_group.command(cls=UmbelCommand)
@json_option
@pass_session
def bindings(session: Session, /, json: bool) -> None:
    """Show the queues of the app, and what is bound to them."""
    rows = [
        (queue.name, queue.exchange.name if queue.exchange else "", queue.key)
        for queue in session.app.queues()
    ]
    if json:
        keys = ("queue", "exchange", "routing_key")
        click.echo(as_json([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        click.echo(table(("Queue", "Exchange", "Routing key"), rows))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, as wide as they must be.

    >>> print(table(("Queue", "Key"), [("mail", "m")]))
    Queue  Key
    mail   m
    """
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _count(number: int, word: str) -> str:
    return f"{number} {pluralize(number, word)}"
