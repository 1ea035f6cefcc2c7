"""``task_annotations``: changing tasks from the configuration, without touching their code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from umbel.app.configuring.attributes import fitting

if TYPE_CHECKING:
    from umbel.app.task import Task

__all__ = ["annotate"]

_Attributes = Mapping[str, Mapping[str, Any]]

_DECORATED = "__umbel_decorated__"
"""Where a decorated method keeps the plain one."""


def annotate(task: Task[..., Any], annotations: Any) -> None:
    """Set the attributes that ``annotations`` has for ``task``.

    Args:
        annotations: A mapping of task names (``"*"`` for all) to attributes, an object with
            ``annotate(task)`` and ``annotate_any()``, or a sequence of these. An attribute
            ``"@run"`` is a decorator for the method ``run``.

    Source:
        Celery user guide, Configuration, ``task_annotations``.
    """
    for one in _each(annotations):
        for attributes in (_for_any(one), _for_task(one, task)):
            for name, value in (attributes or {}).items():
                if name.startswith("@"):
                    _put_around(task, name[1:], value)
                else:
                    setattr(task, name, fitting(task, name, value))


def _put_around(task: Task[..., Any], name: str, decorator: Any) -> None:
    """Replace a method by its decorated form; done again, it is decorated once."""
    method = getattr(task, name)
    method = getattr(method, _DECORATED, method)
    decorated = decorator(method)
    setattr(decorated, _DECORATED, method)
    setattr(task, name, decorated)


def _each(annotations: Any) -> Iterator[Any]:
    if not annotations:
        return
    if isinstance(annotations, list | tuple):
        yield from annotations
    else:
        yield annotations


def _for_any(one: Any) -> Mapping[str, Any] | None:
    if isinstance(one, Mapping):
        return cast("_Attributes", one).get("*")
    return one.annotate_any() if hasattr(one, "annotate_any") else None


def _for_task(one: Any, task: Task[..., Any]) -> Mapping[str, Any] | None:
    if isinstance(one, Mapping):
        return cast("_Attributes", one).get(task.name)
    return one.annotate(task) if hasattr(one, "annotate") else None
