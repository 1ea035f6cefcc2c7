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
from umbel.cli.service_options import (
    log_json_option,
    logfile_option,
    loglevel_option,
    process_options,
)
from umbel.cli.session import Session, pass_session

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.beat.service import Service

__all__ = ["Beat", "beat"]

_NAME = "celerybeat"


@click.command(cls=UmbelCommand)
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUE]...")
@click.option("-s", "--schedule", help="The file that periodic tasks are kept in.")
@click.option("-S", "--scheduler", help="The class of the scheduler, for example 'django'.")
@click.option("--max-interval", type=float, help="The most seconds between two looks.")
@loglevel_option()
@logfile_option()
@log_json_option
@click.option(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    default=None,
    help="Answer 'umbel inspect ping', so that probes see that it lives.",
)
@click.option("-n", "--hostname", help="The name to answer to; celerybeat@%h by default.")
@process_options
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
    **options: Any,
) -> None:
    """Send periodic tasks until told to end. Run as many as you like: one leads, the others
    stand by and take over within seconds.

    Settings can be given as NAME=VALUE; those of beat without their 'beat_'.
    """
    app = session.app
    app.conf.update(dict(setting_of_argument(text, "beat_") for text in settings))
    if log_json:
        app.conf.worker_log_json = True
    if detach:
        surroundings = Surroundings.of(app.conf, "beat", **options)
        into_background(session, surroundings, _NAME, executable or app.conf.beat_executable)
        return
    session.import_tasks()
    Beat(
        max_interval,
        app,
        no_color=session.no_color,
        loglevel=loglevel,
        schedule=schedule,
        scheduler=scheduler,
        quiet=session.quiet,
        remote_control=remote_control,
        hostname=hostname,
        **options,
    ).run()


class Beat:
    """``umbel beat`` for programs.

    Args:
        max_interval: The most seconds between two looks.
        app: None: the current one.
        no_color: None: colours where there is a terminal.
        loglevel: A name or number.
        logfile: None: standard error.
        schedule: The file that periodic tasks are kept in.
        scheduler: The class of the scheduler; ``scheduler_cls`` too.
        redirect_stdouts: Whether what is printed goes to the log.
        redirect_stdouts_level: At which level.
        quiet: Whether it says nothing when it starts.
        surroundings: ``pidfile``, ``uid``, ``gid`` and ``umask``; the settings else.

    Source:
        Celery internals reference, ``celery.apps.beat``.
    """

    def __init__(
        self,
        max_interval: float | None = None,
        app: Umbel | None = None,
        *,
        no_color: bool | None = None,
        loglevel: str | int = "WARN",
        logfile: str | None = None,
        schedule: str | None = None,
        scheduler: Any = None,
        scheduler_cls: Any = None,
        redirect_stdouts: bool = False,
        redirect_stdouts_level: str | None = None,
        quiet: bool = False,
        remote_control: bool | None = None,
        hostname: str | None = None,
        **surroundings: Any,
    ) -> None:
        # The app imports nearly all of umbel: --help needs none of it.
        from umbel.app.current import app_or_default

        self.app = app_or_default(app)
        self.max_interval = max_interval
        self.no_color = no_color
        self.loglevel = loglevel
        self.schedule = schedule
        self.scheduler_cls = scheduler or scheduler_cls
        self.redirect_stdouts = redirect_stdouts
        self.redirect_stdouts_level = redirect_stdouts_level
        self.quiet = quiet
        self.remote_control = remote_control
        self.hostname = hostname
        self._surroundings = Surroundings.of(self.app.conf, "beat", logfile=logfile, **surroundings)

    def run(self) -> None:
        """Send periodic tasks until told to end by a signal of the OS."""
        # The service imports asyncio and the schedules: nothing else here needs them.
        from umbel.beat.service import Service

        app = self.app
        app.loader.import_default_modules()
        service = Service(
            app,
            self.max_interval,
            self.schedule,
            self.scheduler_cls,
            self.remote_control,
            self.hostname,
        )
        outputs = sys.stdout, sys.stderr
        with prepare(self._surroundings, _NAME) as logfile:
            app.log.setup(
                self.loglevel,
                logfile,
                redirect_stdouts=self.redirect_stdouts,
                redirect_level=self.redirect_stdouts_level or "WARNING",
                colorize=False if self.no_color else None,
            )
            if not self.quiet:
                click.echo(_introduction(app, service, str(self.loglevel), logfile))
            try:
                _run(service)
            finally:
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
    from umbel.app.connecting.urls import shown_url
    from umbel.app.scheduling.stores import described
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
