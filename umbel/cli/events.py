"""``umbel events``: the terminal screen, the dump, and cameras."""

from __future__ import annotations

import sys
from typing import Any

import click

from umbel.cli.daemon import Surroundings, prepare
from umbel.cli.detaching import detach as into_background
from umbel.cli.detaching import detach_options
from umbel.cli.options import UmbelCommand
from umbel.cli.service_options import logfile_option, loglevel_option, process_options
from umbel.cli.session import Session, pass_session

__all__ = ["events"]


@click.command(cls=UmbelCommand)
@click.option("-d", "--dump", is_flag=True, help="Print events as they come.")
@click.option("-c", "--camera", help="Take pictures with this class: module.Class.")
@click.option(
    "-F",
    "--frequency",
    "--freq",
    type=float,
    default=1.0,
    show_default=True,
    help="Seconds between two pictures.",
)
@click.option("-r", "--maxrate", help="The most pictures, for example 10/m.")
@loglevel_option("What a camera logs.")
@logfile_option("The log file of a camera; standard error by default.")
@process_options
@detach_options()
@pass_session
def events(
    session: Session,
    /,
    dump: bool,
    camera: str | None,
    frequency: float,
    maxrate: str | None,
    loglevel: str,
    detach: bool,
    executable: str | None,
    **surroundings: Any,
) -> None:
    """Watch workers and their tasks: on a screen, as lines, or through a camera.

    Tasks are shown of workers that send their events: started with -E, or told to by
    'umbel control enable_events'.
    """
    app = session.app
    if detach and not camera:
        raise click.UsageError("--detach is for cameras: there is nobody to see the others.")
    if dump:
        # One of three ways: the others are not loaded.
        from umbel.events.dumper import evdump

        evdump(app)
    elif camera:
        # As above.
        from umbel.events.snapshot import evcam

        where = Surroundings.of(app.conf, "events", **surroundings)
        if detach:
            into_background(session, where, "events", executable or app.conf.events_executable)
            return
        with prepare(where, "events") as logfile:
            app.log.setup(loglevel, logfile, redirect_stdouts=False, hostname="events")
            evcam(camera, freq=frequency, maxrate=maxrate, app=app)
    else:
        _screen(app)


def _screen(app: Any) -> None:
    if not sys.stdout.isatty():
        raise click.UsageError("the screen needs a terminal; use --dump for lines of text.")
    try:
        # Windows has no such module.
        from umbel.events.cursesmon import evtop
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the screen needs Python's curses ({error}); use --dump for lines of text."
        ) from error
    evtop(app)
