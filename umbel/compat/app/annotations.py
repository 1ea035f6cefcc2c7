"""``task_annotations``, taken apart.

Source:
    Celery internals reference, ``celery.app.annotations``: names and behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.functional import firstmethod, mlazy
from umbel.utils.imports import instantiate

__all__ = ["MapAnnotation", "prepare", "resolve_all"]


class MapAnnotation(dict[str, Mapping[str, Any]]):
    """Attributes by the names of tasks; ``*`` for all."""

    def annotate_any(self) -> dict[str, Any] | None:
        """Those of all tasks."""
        return dict(self["*"]) if "*" in self else None

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """Those of one task alone."""
        return dict(self[task.name]) if task.name in self else None


def prepare(annotations: Any) -> Sequence[Any]:
    """The setting as a list of objects with ``annotate`` and ``annotate_any``."""
    if annotations is None:
        return ()
    given: Sequence[Any] = annotations if is_list(annotations) else (annotations,)
    return [_prepared(one) for one in given]


def _prepared(one: Any) -> Any:
    if is_dict(one):
        return MapAnnotation(one)
    return mlazy(instantiate, one) if isinstance(one, str) else one


def resolve_all(anno: Sequence[Any], task: Any) -> Iterator[Mapping[str, Any]]:
    """The attributes that a task is given: its own first, then those of all."""
    own = firstmethod("annotate")(anno, task)
    of_all = firstmethod("annotate_any")(anno)
    return (found for found in (own, of_all) if found)
