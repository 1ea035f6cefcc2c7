"""Tasks that are sent when Django's transaction is committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from umbel.app.task import Task

__all__ = ["DjangoTask"]

P = ParamSpec("P")
R = TypeVar("R")


class DjangoTask(Task[P, R]):
    """A task that can wait for the transaction which writes what it will read.

    Outside of a transaction it is sent at once, in one that is rolled back never. There is no
    result to return: the task has no id before it is sent, unless ``task_id`` says one.

    Source:
        Celery documentation, Django, "Trigger tasks at the end of the database transaction".
    """

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """:meth:`delay`, once the transaction is committed."""
        _on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """:meth:`apply_async`, once the transaction is committed."""
        _on_commit(partial(self.apply_async, *args, **kwargs))


def _on_commit(send: Callable[[], object]) -> None:
    # Django is optional; who calls this has it. By name: what it is is none of our types' business.
    import_module("django.db").transaction.on_commit(send)
