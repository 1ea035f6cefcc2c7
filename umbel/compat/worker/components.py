"""The parts of Celery's worker and consumer, to be named in the ``requires`` of steps.

umbel's worker is not made of them: it has what they stand for before any step is started.

Source:
    Celery reference, ``celery.worker.components``, ``celery.worker.consumer``: names.
"""

from __future__ import annotations

from typing import Any

from umbel.worker import bootsteps

__all__ = [
    "Agent",
    "Beat",
    "Connection",
    "Control",
    "Events",
    "Evloop",
    "Gossip",
    "Heart",
    "Hub",
    "Mingle",
    "Pool",
    "StateDB",
    "Tasks",
    "Timer",
    "WorkerComponent",
    "WorkerConsumer",
]


class _Part(bootsteps.StartStopStep):
    """What the worker has by itself."""

    def include_if(self, parent: Any) -> bool:
        """Never: it is there."""
        return False


class Timer(_Part):
    """``worker.timer``."""


class Hub(_Part):
    """The event loop."""

    requires = (Timer,)


class Pool(_Part):
    """``worker.pool``."""

    requires = (Hub,)


class Beat(_Part):
    """The scheduler of ``-B``."""


class StateDB(_Part):
    """The file of ``--statedb``."""


class WorkerComponent(_Part):
    """``worker.autoscaler``: what ``--autoscale`` does."""

    requires = (Pool,)


class WorkerConsumer(_Part):
    """``worker.consumer``."""

    last = True


class Connection(_Part):
    """The connection to the broker."""


class Events(_Part):
    """What sends events."""

    requires = (Connection,)


class Mingle(_Part):
    """The greeting of other workers."""

    requires = (Events,)


class Gossip(_Part):
    """What listens to other workers."""

    requires = (Mingle,)


class Heart(_Part):
    """What sends heartbeats."""

    requires = (Events,)


class Control(_Part):
    """Remote control."""

    requires = (Mingle,)


class Tasks(_Part):
    """What receives tasks."""

    requires = (Mingle,)


class Agent(_Part):
    """``worker_agent``, which umbel has not."""

    requires = (Connection,)


class Evloop(_Part):
    """The loop itself."""

    last = True
