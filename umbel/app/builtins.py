"""The tasks that every app has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["add_builtin_tasks"]

_PRUNE_AT_ONCE = 1000


def add_builtin_tasks(app: Umbel) -> None:
    """Register ``celery.backend_cleanup``.

    Source:
        Celery reference, ``celery.app.builtins``: names.
    """

    def backend_cleanup() -> int:
        """Delete results that have expired; returns how many."""
        return app.portal.call(_clean_up, app)

    app.task_from_function(backend_cleanup, name="celery.backend_cleanup")


async def _clean_up(app: Umbel) -> int:
    backend = await app.connections.backend()
    before = app.wall_clock.time()
    total = 0
    while True:
        count = await backend.prune(before=before, limit=_PRUNE_AT_ONCE)
        total += count
        if count < _PRUNE_AT_ONCE:
            return total
