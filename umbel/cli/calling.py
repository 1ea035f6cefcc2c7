"""``umbel call`` and ``umbel result``."""

from __future__ import annotations

import json as json_module
from datetime import datetime
from typing import Any

import click

from umbel.cli.options import Kind, UmbelCommand, as_json, json_option
from umbel.cli.session import Session, pass_session
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.states import EXCEPTION_STATES

__all__ = ["call", "result"]


class _Json(Kind):
    """A JSON value of one kind."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value."""
        if not isinstance(value, str):
            return value
        try:
            found = json_module.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON: {error}. Mind the quotes of the shell.", param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"{value!r} is not a {self.name}.", param, ctx)
        return found


class _Moment(Kind):
    """A moment in ISO 8601, or seconds from now."""

    name = "moment"

    def __init__(self, *, seconds: bool) -> None:
        self.seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The moment, or the seconds."""
        if not isinstance(value, str):
            return value
        if self.seconds:
            try:
                return float(value)
            except ValueError:
                # Not seconds: a moment.
                pass
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            also = ", or a number of seconds" if self.seconds else ""
            self.fail(f"{value!r} is not a moment such as 2026-03-01T12:00:00Z{also}.", param, ctx)


@click.command(cls=UmbelCommand)
@click.argument("name")
@click.option("-a", "--args", type=_Json(list, "JSON list"), default="[]", help="Arguments.")
@click.option(
    "-k", "--kwargs", type=_Json(dict, "JSON object"), default="{}", help="Keyword arguments."
)
@click.option("--eta", type=_Moment(seconds=False), help="When to run it.")
@click.option("--countdown", type=float, help="Seconds to wait before it runs.")
@click.option(
    "--expires", type=_Moment(seconds=True), help="When, or after how many seconds, to drop it."
)
@click.option("--serializer", default="json", show_default=True, help="How to write arguments.")
@click.option("--queue", help="The queue.")
@click.option("--exchange", help="The exchange.")
@click.option("--routing-key", help="The routing key.")
@json_option
@pass_session
def call(session: Session, /, name: str, json: bool, **options: Any) -> None:
    """Send the task NAME, and print its id."""
    wanted = {option: value for option, value in options.items() if value is not None}
    app = session.app
    args, kwargs = wanted.pop("args"), wanted.pop("kwargs")

    async def send() -> Any:
        return await app.asend_task(name, args, kwargs, retry=False, **wanted)

    sent = session.run(send, app.broker_url)
    click.echo(as_json({"id": sent.id, "task": name}) if json else sent.id)


@click.command(cls=UmbelCommand)
@click.argument("task_id")
@click.option("-t", "--task", help="The name of the task, if its results are kept elsewhere.")
@click.option("--traceback", is_flag=True, help="Print the traceback instead of the result.")
@click.option("--timeout", type=float, help="Seconds to wait for the result; for ever by default.")
@json_option
@pass_session
def result(
    session: Session,
    /,
    task_id: str,
    task: str | None,
    traceback: bool,
    timeout: float | None,
    json: bool,
) -> int:
    """Print the result of the task TASK_ID; waits until there is one.

    Exits with 1 if the task has failed.
    """
    app = session.app
    # Says now, within seconds, if the backend is away; waiting for results would insist.
    session.run(app.connections.backend, app.backend_url)
    found = app.tasks[task].AsyncResult(task_id) if task else app.AsyncResult(task_id)
    if not traceback:
        try:
            found.get(timeout=timeout, propagate=False)
        except ResultTimeout:
            if not json:
                raise click.ClickException(
                    f"task {task_id} is {found.state} after {timeout:g} seconds."
                ) from None
    state, value = found.state, found.result
    failed = state in EXCEPTION_STATES
    if json:
        shown = repr(value) if isinstance(value, BaseException) else value
        about = {"id": task_id, "state": state, "result": shown, "traceback": found.traceback}
        click.echo(as_json(about))
    elif traceback:
        click.echo(found.traceback or "")
    elif failed:
        click.echo(f"Error: task {task_id} is {state}: {value!r}", err=True)
    else:
        click.echo(value)
    return 1 if failed and not traceback else 0
