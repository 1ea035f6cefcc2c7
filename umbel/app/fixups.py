"""Fixups: what fits an app to a framework when the app is made.

A fixup is a function that is given the app and returns what it has made of it, or None where it
has nothing to do. What it returns may have

- ``prepare()``, called before a process imports the modules of tasks;
- ``autodiscover_tasks()``, the packages in which ``app.autodiscover_tasks()`` looks when nobody
  names any.

Source:
    Celery reference, ``celery.app.base``, ``builtin_fixups``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from umbel.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["BUILTIN_FIXUPS", "Fixups", "django"]

BUILTIN_FIXUPS = frozenset({"umbel.app.fixups:django"})
"""What every app is given that does not say otherwise."""

DJANGO = "DJANGO_SETTINGS_MODULE"
"""The environment variable by which Django projects are recognised."""


def django(app: Umbel) -> Any:
    """Django's fixup, where the environment names a settings module."""
    # By name, and only there: it stands above the app, and nobody else should import it.
    return (
        symbol_by_name("umbel.contrib.django.fixup:fixup")(app) if os.environ.get(DJANGO) else None
    )


class Fixups:
    """What an app's fixups have made of it, in the order of their names.

    Args:
        wanted: Functions, or their names as ``module:attribute``.
    """

    def __init__(self, app: Umbel, wanted: Iterable[str | Callable[[Umbel], Any]]) -> None:
        functions = (
            symbol_by_name(each) if isinstance(each, str) else each
            for each in sorted(wanted, key=str)
        )
        self._made = [made for made in (fixup(app) for fixup in functions) if made is not None]

    def prepare(self) -> None:
        """Modules of tasks are about to be imported.

        Raises:
            Exception: Whatever keeps the framework from starting.
        """
        for fixup in self._made:
            prepare = getattr(fixup, "prepare", None)
            if prepare is not None:
                prepare()

    def packages(self) -> list[str]:
        """The packages that may have modules of tasks."""
        found: list[str] = []
        for fixup in self._made:
            discover = getattr(fixup, "autodiscover_tasks", None)
            if discover is not None:
                found += discover()
        return found
