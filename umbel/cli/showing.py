"""``umbel settings`` and ``umbel report``."""

from __future__ import annotations

import click

from umbel.cli.options import UmbelCommand, as_json, json_option
from umbel.cli.queues import table
from umbel.cli.session import Session, pass_session

__all__ = ["report", "settings"]


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
    from umbel.app.configuring.censor import censored
    from umbel.app.configuring.suggestions import did_you_mean
    from umbel.app.defaults import SETTINGS

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
    # Only a report needs to know what is installed.
    from umbel.app.operating.report import about, bugreport

    click.echo(as_json(about(session.app)) if json else bugreport(session.app))
