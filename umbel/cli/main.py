"""``umbel``: the command line.

Exit codes: 0 done; 1 failed; 2 wrong usage; 69 the broker or result backend is away.

Source:
    Celery reference, "Command Line Interface": names of commands and options.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from umbel import __version__
from umbel.cli.amqp import amqp
from umbel.cli.beat import beat
from umbel.cli.calling import call, result
from umbel.cli.daemon import begin_anew
from umbel.cli.dead import dead_group
from umbel.cli.doctor import doctor
from umbel.cli.events import events
from umbel.cli.graph import graph
from umbel.cli.logtool import logtool
from umbel.cli.migrate import migrate
from umbel.cli.multi import multi
from umbel.cli.options import global_options
from umbel.cli.plugins import ExtendedGroup
from umbel.cli.queues import list_group, purge
from umbel.cli.remote import control, inspect, status
from umbel.cli.schedule import schedule_group
from umbel.cli.session import Session
from umbel.cli.shell import shell
from umbel.cli.showing import report, settings
from umbel.cli.upgrade import upgrade
from umbel.cli.worker import worker
from umbel.exceptions import BackendError, BackendUnavailable, OperationalError, UmbelError

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["main"]

_FAILED = 1
_UNAVAILABLE = 69
_INTERRUPTED = 130


@click.group(
    cls=ExtendedGroup,
    params=global_options(from_environment=True),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options may also follow the command: umbel worker -A proj. "
    "Every option is read from UMBEL_<COMMAND>_<OPTION> too.",
)
@click.version_option(__version__, message="umbel %(version)s")
def umbel() -> None:
    """Run workers, send tasks, look at results and settings."""


for _command in (
    *(worker, beat, schedule_group, status, inspect, control, events),
    *(amqp, call, result, purge, dead_group, list_group, report, settings),
    *(doctor, multi, shell, graph, logtool, migrate, upgrade),
):
    umbel.add_command(_command)


def main(argv: Sequence[str] | None = None, app: Umbel | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None: the process's.
        app: The app to use unless ``-A`` names another one.

    Returns:
        0: the command did what it was asked to.

    Raises:
        SystemExit: It did not; the code says why. What went wrong is on standard error.
    """
    _print_whatever_it_is()
    session = Session(app, sys.argv[1:] if argv is None else argv)
    code = _run(session)
    if code:
        raise SystemExit(code)
    return 0


def _print_whatever_it_is() -> None:
    # A name with an accent, in a locale without (LANG=C in a container), must not end a worker.
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.encoding.lower() not in {"utf-8", "utf8"}:
        out.reconfigure(errors="backslashreplace")


def _run(session: Session) -> int:
    # The outermost handler: every error becomes one paragraph and an exit code.
    try:
        code = umbel.main(session.argv, prog_name="umbel", standalone_mode=False, obj=session)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        code = _explain(error)
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted.", _INTERRUPTED)
    except (OperationalError, BackendUnavailable) as error:
        code = _complain(str(error), _UNAVAILABLE)
    except (UmbelError, BackendError, ImportError, OSError) as error:
        code = _complain(_sentence(error), _FAILED)
    finally:
        session.close()
    if session.restarts:
        begin_anew(session.started_in)
    return code if isinstance(code, int) else 0


def _explain(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"\nTry '{context.command_path} --help'." if context is not None else ""
    return _complain(error.format_message() + hint, error.exit_code)


def _sentence(error: BaseException) -> str:
    # The text of a KeyError is the repr of what was missing.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or repr(error)


def _complain(text: str, code: int) -> int:
    click.echo(f"Error: {text}", err=True)
    return code
