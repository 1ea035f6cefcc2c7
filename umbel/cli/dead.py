"""``umbel dead``: messages that were given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from umbel.cli.options import UmbelCommand, UmbelGroup, as_json, json_option
from umbel.cli.queues import table
from umbel.cli.session import Session, pass_session
from umbel.model import DeadLetter
from umbel.utils.text import pluralize
from umbel.wire import headers

if TYPE_CHECKING:
    from umbel.app.operating.dead_letters import DeadLetters

__all__ = ["dead_group"]

_WIDTH = 70
"""Characters of a reason that the list shows."""
_AT_ONCE = 500


@click.group("dead", cls=UmbelGroup)
def dead_group() -> None:
    """Look at messages that were given up; try them once more, or drop them."""


@dead_group.command("list", cls=UmbelCommand)
@click.option("-n", "--number", default=20, show_default=True, help="How many, the latest first.")
@json_option
@pass_session
def list_(session: Session, /, number: int, json: bool) -> None:
    """List dead letters."""
    letters = session.run(lambda: session.app.dead_letters.alatest(number), session.app.broker_url)
    if json:
        click.echo(as_json([_about(letter) for letter in letters]))
    elif not letters:
        click.echo("There are no dead letters.")
    else:
        click.echo(table(("ID", "WHEN", "QUEUE", "TASK", "REASON"), list(map(_row, letters))))


@dead_group.command(cls=UmbelCommand)
@click.argument("id")
@json_option
@pass_session
def show(session: Session, /, id: str, json: bool) -> None:
    """Show a dead letter: where it came from, why it is here, what it says."""
    found = session.run(lambda: session.app.dead_letters.aload(id), session.app.broker_url)
    if not found:
        raise click.ClickException(f"there is no dead letter {id!r}.")
    about = _about(found[0]) | {"body": found[0].message.body.decode("utf-8", "replace")}
    if json:
        click.echo(as_json(about))
        return
    for name, value in about.items():
        click.echo(f"{name}: {value}")


@dead_group.command(cls=UmbelCommand)
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@pass_session
def retry(session: Session, /, ids: Sequence[str], everything: bool, json: bool) -> int:
    """Send messages to their queues again."""
    count = _each(session, session.app.dead_letters.aretry, ids, everything)
    said = f"Sent {count} {pluralize(count, 'message')} again."
    click.echo(as_json({"retried": count}) if json else said)
    return _code(ids, count)


@dead_group.command(cls=UmbelCommand)
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@pass_session
def drop(session: Session, /, ids: Sequence[str], everything: bool, json: bool) -> int:
    """Forget messages for good."""
    count = _each(session, session.app.dead_letters.adrop, ids, everything)
    said = f"Dropped {count} {pluralize(count, 'message')}."
    click.echo(as_json({"dropped": count}) if json else said)
    return _code(ids, count)


def _each(
    session: Session, act: Callable[..., Awaitable[int]], ids: Sequence[str], everything: bool
) -> int:
    """Do it with those of the ids, or with all there are; returns with how many."""
    if bool(ids) == everything:
        raise click.UsageError("name dead letters, or say --all.")
    letters = session.app.dead_letters
    return session.run(
        lambda: _with_all(letters, act) if everything else act(*ids), session.app.broker_url
    )


def _code(ids: Sequence[str], count: int) -> int:
    """The exit code: 1, with a word about it, where some that were named are not there."""
    missing = len(set(ids)) - count if ids else 0
    if missing > 0:
        click.echo(
            f"Error: {missing} of these dead letters {'is' if missing == 1 else 'are'} not there; "
            "'umbel dead list' shows those that are.",
            err=True,
        )
    return 1 if missing > 0 else 0


async def _with_all(letters: DeadLetters, act: Callable[..., Awaitable[int]]) -> int:
    # Only what is there now: what a retry brings back here is not tried again and again.
    names: list[str] = []
    while batch := await letters.alatest(_AT_ONCE, skip=len(names)):
        names += [letter.id for letter in batch]
    count = 0
    for start in range(0, len(names), _AT_ONCE):
        count += await act(*names[start : start + _AT_ONCE])
    return count


def _row(letter: DeadLetter) -> tuple[str, ...]:
    reason = letter.reason
    if len(reason) > _WIDTH:
        reason = f"{reason[: _WIDTH - 1]}…"
    about = _about(letter)
    return letter.id, about["dropped_at"], letter.queue, about["task"], reason


def _about(letter: DeadLetter) -> dict[str, Any]:
    task = ""
    if letter.message.id:
        try:
            task = str(headers.read(letter.message).get("task", ""))
        except (ValueError, msgspec.MsgspecError):
            task = ""
    moment = datetime.fromtimestamp(letter.dropped_at, UTC)
    return {
        "id": letter.id,
        "queue": letter.queue,
        "task": task,
        "task_id": letter.message.id,
        "attempt": letter.attempt,
        "reason": letter.reason,
        "dropped_at": moment.isoformat(timespec="seconds"),
    }
