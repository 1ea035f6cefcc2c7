"""A distributed task queue: Celery's names and wire format, an asyncio core, no server needed.

::

    from umbel import Umbel

    app = Umbel("tasks")


    @app.task
    def add(x: int, y: int) -> int:
        return x + y

Start a worker with ``umbel -A tasks worker``; then ``add.delay(2, 2).get()`` is 4.
"""

import os
from importlib import import_module

from umbel.app.base import Celery, Umbel
from umbel.app.current import bugreport, current_app, current_task, shared_task
from umbel.app.task import Task
from umbel.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from umbel.model import Exchange, Queue
from umbel.result import AsyncResult
from umbel.routing.broadcast import Broadcast

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Celery",
    "Exchange",
    "Queue",
    "Signature",
    "Task",
    "Umbel",
    "__version__",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "install_as_celery",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]


def install_as_celery() -> None:
    """From now on, here and in processes started from here, ``import celery`` means umbel.

    Raises:
        ImproperlyConfigured: A real Celery is installed.
    """
    # By name: programs that are written for umbel do not pay for it, and lower layers that ask the
    # package for its version do not import upwards.
    import_module("umbel.compat.alias").install()


if os.environ.get("UMBEL_AS_CELERY") == "1":
    install_as_celery()
