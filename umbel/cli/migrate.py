"""``umbel migrate``: messages from one broker to another.

Source:
    Celery reference, "Command Line Interface", ``celery migrate``: options.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from umbel.cli.options import Names, UmbelCommand, as_json, json_option
from umbel.cli.session import Session, pass_session
from umbel.utils.text import pluralize

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.operating.moving import Moved, Order
    from umbel.model import Delivery

__all__ = ["migrate"]


@click.command(cls=UmbelCommand)
@click.argument("source")
@click.argument("destination")
@click.option("-n", "--limit", type=int, help="The most messages to carry.")
@click.option(
    "-t",
    "--timeout",
    type=float,
    default=1.0,
    show_default=True,
    help="Seconds without a message after which it is done.",
)
@click.option(
    "-a", "--ack-messages", is_flag=True, help="Take them away from SOURCE; they are copied else."
)
@click.option("-T", "--tasks", type=Names(), help="Carry tasks of these names only.")
@click.option(
    "-Q", "--queues", type=Names(), help="Carry these queues; mail:post carries mail to post."
)
@click.option("-F", "--forever", is_flag=True, help="Carry on until told to end.")
@json_option
@pass_session
def migrate(
    session: Session,
    /,
    source: str,
    destination: str,
    limit: int | None,
    timeout: float,
    ack_messages: bool,
    tasks: Sequence[str] | None,
    queues: Sequence[str] | None,
    forever: bool,
    json: bool,
) -> None:
    """Carry the messages of the app's queues from the broker SOURCE to the broker DESTINATION.

    Without -a they are copied. What is not due yet stays where it is. Let no worker take from
    SOURCE meanwhile, or some will run what was copied.
    """
    if forever and not ack_messages:
        raise click.UsageError("--forever without --ack-messages would copy the same for ever.")
    app = session.app
    # Only this command carries messages.
    from umbel.app.operating.moving import Order

    pairs = [name.partition(":") for name in queues or [queue.name for queue in app.queues()]]
    order = Order(
        queues={name: to or name for name, _, to in pairs},
        tasks=None if tasks is None else frozenset(tasks),
        limit=limit,
        wait=None if forever else timeout,
        take=ack_messages,
        lease=app.conf.worker_lease,
    )
    # As above.
    import asyncio

    moved = asyncio.run(_carry(session, app, source, destination, order, silent=json))
    if json:
        about = {"migrated": moved.count, "skipped": moved.passed_over, "not_due": moved.not_due}
        click.echo(as_json(about))
        return
    verb = "Moved" if ack_messages else "Copied"
    click.echo(f"{verb} {moved.count} {pluralize(moved.count, 'message')}.")
    if moved.not_due:
        click.echo(
            f"{moved.not_due} {pluralize(moved.not_due, 'message')} for later stayed: carry "
            "them when they are due, or let a worker run there until then.",
            err=True,
        )


async def _carry(
    session: Session, app: Umbel, source: str, destination: str, order: Order, *, silent: bool
) -> Moved:
    # Only this command carries messages.
    from umbel.app.operating.moving import move

    shows_bar = sys.stderr.isatty() and not silent and not session.quiet
    async with AsyncExitStack() as stack:
        brokers = app.make_broker(source), app.make_broker(destination)
        for broker in brokers:
            await broker.open()
            stack.push_async_callback(broker.close)
        total = sum(stats.ready for stats in (await brokers[0].stats(list(order.queues))).values())
        total = total if order.limit is None else min(total, order.limit)
        count = 0
        bar = click.progressbar(length=total, label="Migrating", file=sys.stderr)
        if shows_bar:
            stack.enter_context(bar)

        def tell(delivery: Delivery, task: str) -> None:
            nonlocal count
            count += 1
            if shows_bar:
                bar.update(1)
            elif not silent:
                session.say(f"Migrating task {count}/{total}: {task}[{delivery.message.id}]")

        return await move(
            *brokers, order, lambda name: app.router.select([name])[0], tell, clock=app.wall_clock
        )
