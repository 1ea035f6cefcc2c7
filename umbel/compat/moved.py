"""Names of Celery 3 that others still use; they mean the app that is current when they are used."""

from __future__ import annotations

from typing import Any

from umbel.app.current import Proxy, get_current_app

__all__ = ["send_task", "tasks"]

tasks = Proxy(lambda: get_current_app().tasks)
"""``celery.registry.tasks``."""


def send_task(*args: Any, **kwargs: Any) -> Any:
    """``celery.execute.send_task``: :meth:`~umbel.app.base.Umbel.send_task` of the current app."""
    return get_current_app().send_task(*args, **kwargs)
