"""``umbel beat``.

Source:
    Celery reference, "Command Line Interface", ``celery beat``: options.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.daemon import Surroundings, prepare
from umbel.cli.detaching import detach as into_background
from umbel.cli.detaching import detach_options
from umbel.cli.options import UmbelCommand, setting_of_argument
from umbel.cli.session import Session, pass_session

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.beat.service import Service

__all__ = ["beat"]

_NAME = "celerybeat"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


@click.command(cls=UmbelCommand)
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUE]...")
@click.option("-s", "--schedule", help="The file that periodic tasks are kept in.")
@click.option("-S", "--scheduler", help="The class of the scheduler, for example 'django'.")
@click.option("--max-interval", type=float, help="The most seconds between two looks.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="WARNING",
    show_default=True,
    help="What to log.",
)
@click.option("-f", "--logfile", help="The log file; standard error by default.")
@click.option("--log-json", is_flag=True, help="Write each log line as a JSON object.")
@click.option(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    default=None,
    help="Answer 'umbel inspect ping', so that probes see that it lives.",
)
@click.option("-n", "--hostname", help="The name to answer to; celerybeat@%h by default.")
@click.option("--pidfile", help="The file to write the process id to.")
@click.option("--uid", help="The user to become.")
@click.option("--gid", help="The group to become.")
@click.option("--umask", help="The file mode mask, in octal.")
@detach_options()
@pass_session
def beat(
    session: Session,
    /,
    settings: Sequence[str],
    schedule: str | None,
    scheduler: str | None,
    max_interval: float | None,
    loglevel: str,
    log_json: bool,
    remote_control: bool | None,
    hostname: str | None,
    detach: bool,
    executable: str | None,
    **options: str | None,
) -> None:
    """Send periodic tasks until told to end. Run as many as you like: one leads, the others
    stand by and take over within seconds.

    Settings can be given as NAME=VALUE; those of beat without their 'beat_'.
    """
    app = session.app
    app.conf.update(dict(setting_of_argument(text, "beat_") for text in settings))
    if log_json:
        app.conf.worker_log_json = True
    surroundings = Surroundings.of(app.conf, "beat", **options)
    if detach:
        into_background(session, surroundings, _NAME, executable or app.conf.beat_executable)
        return
    # The service imports asyncio and the schedules: nothing else here needs them.
    from umbel.beat.service import Service

    app.loader.import_default_modules()
    service = Service(app, max_interval, schedule, scheduler, remote_control, hostname)
    outputs = sys.stdout, sys.stderr
    with prepare(surroundings, _NAME) as logfile:
        app.log.setup(
            loglevel,
            logfile,
            redirect_stdouts=False,
            colorize=False if session.no_color else None,
        )
        session.say(_introduction(app, service, loglevel, logfile))
        _run(service)
        sys.stdout, sys.stderr = outputs


def _run(service: Service) -> None:
    def end(_number: int, _frame: Any) -> None:
        service.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        service.start()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduction(app: Umbel, service: Service, loglevel: str, logfile: str | None) -> str:
    # The package imports everything else; only its version is wanted here.
    from umbel import __version__
    from umbel.app.drivers import shown_url
    from umbel.app.schedule_stores import described
    from umbel.beat.answering import beat_nodename

    where = described(app.conf, app.broker_url, app.project)
    kept = where if service.is_own else service.scheduler.info.strip() or "its own"
    kind = "umbel's own" if service.is_own else service.scheduler_cls.__name__
    interval = service.max_interval or 1.0
    answers = f"    . remote control -> {beat_nodename(service.hostname)}"
    return "\n".join(
        (
            f"umbel beat v{__version__} is starting.",
            f"    . broker -> {shown_url(app.broker_url, app.project)}",
            f"    . scheduler -> {kind}",
            f"    . schedule -> {kept}",
            f"    . logfile -> {logfile or '[stderr]'}@{loglevel}",
            f"    . maxinterval -> {interval:.2f} seconds",
            *([answers] if service.remote_control else []),
        )
    )
