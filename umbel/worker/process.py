"""What a worker that is a whole process asks of the machine, and says when it fails."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from umbel.exceptions import BackendUnavailable, ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["causes", "explains", "loop_factory", "may_run"]

logger = logging.getLogger(__name__)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the fastest event loop there is; None: asyncio's own."""
    try:
        # Optional: umbel[fast].
        uvloop = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def may_run(app: Umbel) -> bool:
    """Whether this user may run a worker: root may not where messages can carry code.

    Source:
        Celery user guide, Daemonization, "Running the worker with superuser privileges".
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or os.environ.get("C_FORCE_ROOT"):
        return True
    if {"application/x-python-serialize", "application/x-yaml"} & app.accept:
        logger.critical(
            "Refusing to run as root: messages may be pickle or YAML (accept_content), which can "
            "carry code. Start the worker as another user, take them out of accept_content, or "
            "set C_FORCE_ROOT=true if you know better."
        )
        return False
    logger.warning(
        "This worker runs as root, and so do its tasks. Start it as another user, "
        "or set C_FORCE_ROOT=true to stop this warning."
    )
    return True


def explains(error: BaseException) -> bool:
    """Whether the error itself says what to do, so that a traceback adds nothing."""
    return isinstance(error, ImproperlyConfigured | OperationalError | BackendUnavailable)


def causes(error: BaseException) -> list[BaseException]:
    """The exceptions inside groups of them."""
    inside: Sequence[BaseException] | None = getattr(error, "exceptions", None)
    if inside is None:
        return [error]
    return [cause for inner in inside for cause in causes(inner)]
