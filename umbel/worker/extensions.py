"""What programs have added to a worker; most have added nothing, and pay for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.worker.companions import Companion

if TYPE_CHECKING:
    from umbel.worker.parts import Parts
    from umbel.worker.shutdown import Shutdown
    from umbel.worker.worker import Worker

__all__ = ["companions_of"]


def companions_of(worker: Worker, parts: Parts, shutdown: Shutdown) -> list[Companion]:
    """What runs the steps and strategies of the worker's app beside it, if there are any."""
    app = worker.app
    own = [task for task in app.tasks.values() if task.has_strategy]
    if not own and not any(app.steps.values()):
        return []
    # Few workers have any.
    from umbel.worker.steps.running import Extensions

    return [Extensions(worker, parts, shutdown, own).run]
