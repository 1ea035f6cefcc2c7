"""``umbel settings`` and ``umbel report``."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from umbel import __version__
from umbel.cli.options import UmbelCommand, as_json, json_option
from umbel.cli.queues import table
from umbel.cli.session import Session, pass_session

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["report", "settings"]

_PACKAGES = ("click", "msgspec", "redis", "uvloop", "pydantic", "celery", "kombu")


@click.command(cls=UmbelCommand)
@click.argument("filter", required=False, default="")
@click.option("--changed", is_flag=True, help="Only what differs from the default.")
@json_option
@pass_session
def settings(session: Session, /, filter: str, changed: bool, json: bool) -> None:
    """Show settings: their values, defaults, and where the values come from.

    FILTER is a part of their names. Secrets are hidden.
    """
    # The table of settings is not for --help.
    from umbel.app.censor import censored
    from umbel.app.defaults import SETTINGS
    from umbel.app.suggestions import did_you_mean

    conf = session.app.conf
    values = conf.table(with_defaults=not changed)
    names = [name for name in values if filter.lower() in name]
    if not names and filter:
        if any(filter.lower() in name for name in SETTINGS):
            session.say(f"no setting with {filter!r} in its name is changed.")
            return
        question = did_you_mean(filter.lower(), SETTINGS)
        raise click.UsageError(f"no setting has {filter!r} in its name.{question}")
    if json:
        about = {
            name: {
                "value": values[name],
                "default": censored(name, SETTINGS[name].default),
                "source": conf.origin(name),
                "text": SETTINGS[name].text,
            }
            for name in names
        }
        click.echo(as_json(about))
        return
    rows = [
        (
            name,
            repr(values[name]),
            repr(censored(name, SETTINGS[name].default)),
            conf.origin(name),
        )
        for name in names
    ]
    click.echo(table(("Setting", "Value", "Default", "Source"), rows))


@click.command(cls=UmbelCommand)
@json_option
@pass_session
def report(session: Session, /, json: bool) -> None:
    """Show versions and changed settings, to be put into a report of a bug."""
    about = _about(session.app)
    if json:
        click.echo(as_json(about))
        return
    changed: dict[str, Any] = about.pop("settings")
    tasks: list[str] = about.pop("tasks")
    packages: dict[str, str] = about.pop("packages")
    rows = [(name, str(value)) for name, value in about.items()]
    rows.append(("packages", " ".join(f"{name}:{found}" for name, found in packages.items())))
    rows.append(("tasks", ", ".join(tasks) or "none"))
    click.echo("\n".join(f"{name:9} {value}" for name, value in rows))
    click.echo("".join(f"\n{name}: {value!r}" for name, value in changed.items()))


def _about(app: Umbel) -> dict[str, Any]:
    # Only a report needs to know what is installed.
    from importlib.metadata import PackageNotFoundError, version

    from umbel.app.drivers import safe_url

    packages: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            # Not installed: nothing to report.
            continue
    return {
        "umbel": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "program": sys.executable,
        "app": app.main or "__main__",
        "broker": safe_url(app.broker_url),
        "results": safe_url(app.backend_url),
        "packages": packages,
        "tasks": sorted(name for name in app.tasks if not name.startswith("celery.")),
        "settings": app.conf.table(),
    }
