"""``umbel worker``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.daemon import Surroundings, ignore_signals, prepare
from umbel.cli.detaching import detach as into_background
from umbel.cli.detaching import detach_options
from umbel.cli.options import Names, UmbelCommand, setting_of_argument
from umbel.cli.service_options import (
    log_json_option,
    logfile_option,
    loglevel_option,
    process_options,
)
from umbel.cli.session import Session, pass_session
from umbel.exceptions import BackendError, ImproperlyConfigured, UmbelError
from umbel.utils.titles import show_title

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["worker"]


@click.command(cls=UmbelCommand, context_settings={"ignore_unknown_options": False})
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUE]...")
@click.option("-n", "--hostname", help="The name of this worker; %h %n %d stand for the host.")
@loglevel_option()
@logfile_option()
@log_json_option
@click.option("-c", "--concurrency", help="How many tasks run at once, or 'auto'.")
@click.option(
    "-P",
    "--pool",
    help="What tasks run in: prefork, threads, asyncio, gevent, eventlet, solo, or module:class.",
)
@click.option(
    "--autoscale", help="The most and the least processes, as in 10,3, by what there is to do."
)
@click.option("-Q", "--queues", type=Names(), help="Take tasks from these queues only.")
@click.option("-X", "--exclude-queues", type=Names(), help="Take no tasks from these queues.")
@click.option("-I", "--include", type=Names(), help="Import these modules too.")
@click.option("--purge", "--discard", is_flag=True, help="Delete all waiting tasks first.")
@click.option("--prefetch-multiplier", type=int, help="How many tasks to reserve per running one.")
@click.option(
    "--disable-prefetch", is_flag=True, default=None, help="Reserve only what can run at once."
)
@click.option(
    "-O",
    "--optimization",
    type=click.Choice(["default", "fair"]),
    expose_value=False,
    help="Accepted: tasks are always shared out fairly.",
)
@click.option("--max-tasks-per-child", type=int, help="Replace processes after that many tasks.")
@click.option(
    "--max-memory-per-child", type=int, help="Replace processes that have more KiB than that."
)
@click.option("--time-limit", type=float, help="Seconds after which a task is killed.")
@click.option("--soft-time-limit", type=float, help="Seconds after which a task gets an exception.")
@click.option(
    "--pool-start-method",
    type=click.Choice(["fork", "spawn", "forkserver"]),
    help="How child processes start.",
)
@click.option("-S", "--statedb", help="The file that remembers what was revoked.")
@click.option("--health-port", type=int, help="The port to answer /livez and /readyz on.")
@click.option("--health-host", help="The address that port belongs to; all of them by default.")
@click.option("--heartbeat-file", help="The file to write every five seconds, for probes.")
@process_options
@click.option(
    "-E",
    "--task-events",
    "--events",
    "task_events",
    is_flag=True,
    default=None,
    help="Send an event for every step of a task.",
)
@click.option("--heartbeat-interval", type=float, help="Seconds between two signs of life.")
@click.option("--without-heartbeat", is_flag=True, help="Give no signs of life.")
@click.option("--without-mingle", is_flag=True, help="Ask no other workers when starting.")
@click.option("--without-gossip", is_flag=True, help="Do not listen to other workers.")
@click.option("-B", "--beat", is_flag=True, help="Send periodic tasks too.")
@click.option("-s", "--schedule-filename", "--schedule", help="With -B: where they are kept.")
@click.option("--scheduler", help="With -B: the class of the scheduler.")
@detach_options("-D")
@pass_session
def worker(
    session: Session,
    /,
    settings: Sequence[str],
    loglevel: str,
    log_json: bool,
    include: Sequence[str] | None,
    pool_start_method: str | None,
    beat: bool,
    schedule_filename: str | None,
    scheduler: str | None,
    detach: bool,
    executable: str | None,
    **options: Any,
) -> int:
    """Run tasks until told to end: TERM or Ctrl-C once is the warm way, QUIT the cold one.

    Settings can be given as NAME=VALUE; those of workers without their 'worker_'.
    """
    app = session.app
    changes = dict(setting_of_argument(text, "worker_") for text in settings)
    if include:
        changes["include"] = [*(app.conf.include or ()), *include]
    if schedule_filename is not None:
        changes["beat_schedule_filename"] = schedule_filename
    if scheduler is not None:
        changes["beat_scheduler"] = scheduler
    if log_json:
        changes["worker_log_json"] = True
    app.conf.update(changes)
    if beat:
        # Only -B needs it.
        from umbel.beat.service import beside_worker

        options["beside"] = [partial(beside_worker, app)]
    surroundings = Surroundings.of(
        app.conf,
        **{name: options.pop(name) for name in ("logfile", "pidfile", "uid", "gid", "umask")},
    )
    if detach:
        # The name is the worker's business, which knows all that goes into it.
        from umbel.worker.options import node_name

        hostname = node_name(options["hostname"])
        into_background(session, surroundings, hostname, executable or app.conf.worker_executable)
        return 0
    if pool_start_method is None and app.conf.is_set("worker_pool_start_method"):
        pool_start_method = app.conf.worker_pool_start_method
    return _run(
        app, session, surroundings, loglevel, {**options, "start_method": pool_start_method}
    )


def _run(
    app: Umbel,
    session: Session,
    surroundings: Surroundings,
    loglevel: str,
    options: dict[str, Any],
) -> int:
    # The worker imports asyncio, pools and drivers: nothing else here needs them.
    from umbel.app.configuring.finding import user_traceback
    from umbel.worker.worker import Worker

    logging = {"loglevel": loglevel, "logfile": surroundings.logfile}
    extra = {**logging, **session.user_options}
    try:
        made = Worker(app, quiet=session.quiet, extra_options=extra, **options)
    except ImproperlyConfigured as error:
        if all(options[name] is None for name in ("pool", "concurrency", "autoscale")):
            raise
        # It is what was typed in that makes no sense.
        raise click.UsageError(str(error)) from error
    outputs = sys.stdout, sys.stderr
    with prepare(surroundings, made.hostname):
        app.log.setup(
            loglevel,
            # As it was given: each process of the pool may have a file of its own.
            str(Path(surroundings.logfile).expanduser()) if surroundings.logfile else None,
            redirect_stdouts=app.conf.worker_redirect_stdouts,
            redirect_level=app.conf.worker_redirect_stdouts_level,
            colorize=False if session.no_color else None,
            hostname=made.hostname,
        )
        # What Celery shows, and the program: who looks for "umbel -A proj worker" finds it.
        command = " ".join(["umbel", *sys.argv[1:]])
        show_title(f"[celeryd: {made.hostname}:MainProcess] -active- ({command})")
        try:
            return made.run()
        except (UmbelError, BackendError):
            raise
        except Exception as error:
            # The outermost handler of the worker: modules of tasks may raise anything.
            raise click.ClickException(
                f"the worker cannot start: {user_traceback(error)}"
            ) from error
        finally:
            session.restarts = made.restarts
            if not made.restarts:
                ignore_signals()
            # What is said from here on is for people again.
            sys.stdout, sys.stderr = outputs
