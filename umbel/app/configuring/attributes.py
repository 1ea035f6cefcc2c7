"""Giving one task attributes: by the decorator's options, and by annotations."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.app.task import Task

__all__ = ["fitting"]


def fitting(task: Task[..., Any], name: str, value: Any) -> Any:
    """``value`` as ``task`` can have it under ``name``: a function in a method's place is bound.

    Raises:
        TypeError: Something that cannot be called would take a method's place.

    Source:
        Celery user guide, Configuration, ``task_annotations``: handlers may be given as functions
        that take ``self``.
    """
    if not isinstance(getattr(type(task), name, None), FunctionType):
        return value
    if not callable(value):
        message = (
            f"{name}={value!r} cannot be an option of task {task.name!r}: "
            f"{name} is a method of {type(task).__name__}, and takes a function."
        )
        raise TypeError(message)
    return MethodType(value, task) if isinstance(value, FunctionType) else value
