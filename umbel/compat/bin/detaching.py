"""``celery.bin.worker.detach``: another program in this one's place, in the background.

Source:
    Celery reference, ``celery.bin.worker``: names and arguments.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from umbel.app.current import app_or_default
from umbel.compat.platforms.background import detached
from umbel.compat.platforms.machine import EX_FAILURE
from umbel.utils.nodenames import gethostname, node_format

__all__ = ["C_FAKEFORK", "detach"]

logger = logging.getLogger(__name__)

C_FAKEFORK = os.environ.get("C_FAKEFORK")
"""Set to stay in the foreground."""


def detach(
    path: str,
    argv: Sequence[str],
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: int | str | None = None,
    gid: int | str | None = None,
    umask: int | str | None = None,
    workdir: str | None = None,
    fake: bool = False,
    app: Any = None,
    executable: str | None = None,
    hostname: str | None = None,
) -> int:
    """Go into the background and become another program; what was in the foreground ends.

    Args:
        path: The program.
        argv: Its arguments, without its name.
        logfile: A template of a file that must be possible to write to.
        fake: Stay in the foreground.
        app: Whose log says what has gone wrong.
        executable: The program, instead.
        hostname: The node that ``logfile`` is for.

    Returns:
        An exit code: it has not become the program.
    """
    log = node_format(logfile, hostname or gethostname()) if logfile else None
    program = executable or path
    with detached(log, pidfile, uid, gid, umask or 0, workdir, fake=fake or bool(C_FAKEFORK)):
        try:
            os.execv(program, [program, *argv])  # noqa: S606 - as asked for
        except OSError:
            app_or_default(app).log.setup_logging_subsystem("ERROR", log, hostname=hostname)
            logger.critical("Can't exec %r", " ".join([program, *argv]), exc_info=True)
    return EX_FAILURE
