"""``umbel doctor``: what is unsafe or unsupported, and what to do about it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.options import UmbelCommand, as_json, json_option
from umbel.cli.session import Session, pass_session
from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelError
from umbel.serialization.shapes import is_dict
from umbel.utils.text import pluralize

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.operating.doctor import Facts, Finding

__all__ = ["doctor"]

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command(cls=UmbelCommand)
@click.option("--offline", is_flag=True, help="Look at the configuration only.")
@click.option(
    "-t",
    "--timeout",
    type=float,
    default=1.0,
    show_default=True,
    help="Seconds to wait for workers.",
)
@json_option
@pass_session
def doctor(session: Session, /, offline: bool, timeout: float, json: bool) -> int:
    """Look at the app's configuration, the broker and the workers, and say what to change.

    The app may be one of the real Celery's. Exits with 1 if there is an error among the findings,
    with 69 if the broker is away.
    """
    # Nobody else needs the advice.
    from umbel.app.operating.doctor import look_at, look_at_fleet

    app, found, is_celery = _app(session)
    away: OperationalError | None = None
    session.import_tasks()
    found += look_at(app, is_celery=is_celery)
    if not offline:
        try:
            found += look_at_fleet(_facts(session, app, timeout))
        except OperationalError as error:
            away = error
    found.sort(key=lambda finding: finding.level)
    if json:
        click.echo(as_json(found))
    else:
        _show(session, found)
    if away is not None:
        raise away
    return int(any(finding.level == "error" for finding in found))


def _show(session: Session, found: list[Finding]) -> None:
    for finding in found:
        label = finding.level.upper()
        if not session.no_color:
            label = click.style(label, fg=_COLOURS[finding.level], bold=True)
        click.echo(f"{label} [{finding.about}] {finding.text}\n    {finding.advice}")
    errors = sum(finding.level == "error" for finding in found)
    warnings = len(found) - errors
    session.say(
        f"{errors} {pluralize(errors, 'error')}, {warnings} {pluralize(warnings, 'warning')}."
    )


def _app(session: Session) -> tuple[Umbel, list[Finding], bool]:
    """The app, what was wrong with its settings, and whether it is one of Celery's."""
    # Finding an app imports nearly all of umbel.
    from umbel.app.configuring.finding import AppNotFound

    name = session.app_name
    try:
        app = session.app
    except AppNotFound:
        theirs = _celery_app(name or "")
        if theirs is None:
            raise
        return (*_like(session, theirs), True)
    return app, [], False


def _celery_app(name: str) -> Any:
    """The app of the real Celery that ``-A`` names, if there is one."""
    path, _, attribute = name.partition(":")
    for module_name in (path, f"{path}.celery"):
        try:
            # The user's own module.
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        names = [attribute] if attribute else ["app", "celery", *vars(module)]
        for each in names:
            found = getattr(module, each, None)
            if type(found).__module__.startswith("celery.") and hasattr(found, "send_task"):
                return found
    return None


def _like(session: Session, theirs: Any) -> tuple[Umbel, list[Finding]]:
    """An app of ours with the settings and tasks of one of Celery's."""
    # Nobody else makes an app of another.
    from umbel.app.base import Umbel
    from umbel.app.defaults import SETTINGS
    from umbel.app.operating.doctor import Finding

    theirs.loader.import_default_modules()
    url = theirs.conf.broker_url or theirs.connection_for_write().as_uri(include_password=True)
    app = Umbel(theirs.main, broker=url, set_as_current=False)
    session.use(app)
    found: list[Finding] = []
    for name in theirs.conf.table(with_defaults=False):
        if name not in SETTINGS or name == "broker_url":
            continue
        try:
            app.conf.update({name: theirs.conf[name]})
        except ImproperlyConfigured as error:
            app.conf.pop(name, None)
            found.append(
                Finding(
                    "error",
                    "unsupported",
                    f"umbel refuses {name}: {error}",
                    f"Change or take out {name} before umbel's workers take over.",
                )
            )
    for name, task in theirs.tasks.items():
        if not name.startswith("celery."):
            app.task(
                name=name,
                default_retry_delay=task.default_retry_delay,
                retry_backoff=getattr(task, "retry_backoff", False),
                retry_backoff_max=getattr(task, "retry_backoff_max", 600),
            )(task.run)
    return app, found


def _facts(session: Session, app: Umbel, timeout: float) -> Facts:
    # As above.
    from umbel.app.operating.doctor import Facts, is_internal

    queues = [queue.name for queue in app.queues()]

    async def look() -> tuple[dict[str, int], int]:
        broker = await app.connections.broker()
        stats = await broker.stats(queues)
        return {name: each.ready for name, each in stats.items()}, await _count_dead(app)

    ready, dead = session.run(look, app.broker_url)
    ask = app.control.inspect(timeout=timeout)
    nodes: Mapping[str, Any] = ask.ping() or {}
    stats = _replies(ask.stats())
    # A scheduler may have any name; those that say nothing of themselves are known by Celery's.
    said = _kinds(app, [node for node in nodes if node not in stats], timeout)
    beats = {node for node in nodes if node in said or node.startswith("celerybeat@")}
    consumed = {queue["name"] for held in _values(ask.active_queues()) for queue in held}
    known = {name.partition(" ")[0] for names in _values(ask.registered()) for name in names}
    schedule: Mapping[str, Any] = app.conf.beat_schedule or {}
    return Facts(
        nodes=list(nodes),
        beats={node: said.get(node) for node in beats},
        rivals={name for each in stats.values() for name in each.get("rival_schedulers") or ()},
        consumed=consumed,
        known=known,
        ready=ready,
        tasks={
            name: app.amqp.router.route({}, name)["queue"].name
            for name in app.tasks
            if not is_internal(name)
        },
        scheduled={
            name: str(entry["task"] if hasattr(entry, "keys") else entry.task)
            for name, entry in schedule.items()
        },
        dead=dead,
    )


async def _count_dead(app: Umbel) -> int:
    try:
        return await app.dead_letters.acount()
    except OperationalError:
        raise
    except UmbelError:
        # This broker keeps none.
        return 0


def _kinds(app: Umbel, nodes: Sequence[str], timeout: float) -> dict[str, str]:
    """What schedulers say they are, by node; those of Celery's say nothing."""
    if not nodes:
        return {}
    replies = app.control.broadcast(
        "scheduler", destination=list(nodes), reply=True, timeout=timeout
    )
    return {
        node: str(reply["ok"])
        for each in replies or ()
        for node, reply in each.items()
        if is_dict(reply) and "ok" in reply
    }


def _replies(replies: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What nodes have said of themselves, but for errors."""
    return {
        node: reply
        for node, reply in (replies or {}).items()
        if is_dict(reply) and "error" not in reply
    }


def _values(replies: Mapping[str, Any] | None) -> list[Any]:
    """What nodes have said, but for errors."""
    return [reply for reply in (replies or {}).values() if isinstance(reply, list)]
