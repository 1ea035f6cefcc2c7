"""Small things about objects.

Source:
    Celery reference, ``celery.utils.objects``: names and behaviour.
"""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace

__all__ = ["Bunch", "mro_lookup"]

Bunch = SimpleNamespace
"""An object with the attributes one gives it."""


def mro_lookup(
    cls: type,
    attr: str,
    stop: Collection[type] = (),
    monkey_patched: Collection[str] = (),
) -> type | None:
    """The class that gives ``cls`` an attribute.

    Args:
        stop: Classes at which the search ends with None.
        monkey_patched: Modules. A class of ``stop`` counts when its attribute comes from none of
            them: somebody has replaced it.
    """
    for kind in cls.__mro__:
        held = attr in vars(kind)
        if kind in stop:
            origin = getattr(vars(kind).get(attr), "__module__", None)
            return kind if held and origin and origin not in monkey_patched else None
        if held:
            return kind
    return None
