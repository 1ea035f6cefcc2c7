"""Names that others ask for, and that have no place of their own here."""

from __future__ import annotations

from typing import Any

from umbel.app.current import Proxy, get_current_app

__all__ = ["ExceptionWithTraceback", "send_task", "tasks"]

tasks = Proxy(lambda: get_current_app().tasks)
"""``celery.registry.tasks``: those of the app that is current when they are used."""


def send_task(*args: Any, **kwargs: Any) -> Any:
    """``celery.execute.send_task``: :meth:`~umbel.app.base.Umbel.send_task` of the current app."""
    return get_current_app().send_task(*args, **kwargs)


class ExceptionWithTraceback(Exception):
    """``billiard.einfo.ExceptionWithTraceback``, which carries exceptions between processes there.

    Here none is ever made: others ask whether what they were given is one.
    """
