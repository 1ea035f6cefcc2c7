"""Small things about objects.

Source:
    Celery reference, ``celery.utils.objects``: names and behaviour.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

__all__ = ["Bunch", "cached_property", "mro_lookup"]

_NOTHING = object()

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


class cached_property(functools.cached_property[Any]):  # noqa: N801 - Celery's name
    """An attribute that is worked out when it is first asked for, and can be set and deleted.

    Source:
        kombu reference, ``kombu.utils.objects.cached_property``: the setter gives the value that
        is kept; the deleter is given the one that was.

    >>> class Circle:
    ...     @cached_property
    ...     def radius(self):
    ...         return 1
    ...     @radius.setter
    ...     def radius(self, value):
    ...         return abs(value)
    >>> circle = Circle()
    >>> circle.radius = -3
    >>> circle.radius
    3
    """

    def __init__(
        self,
        fget: Callable[[Any], Any],
        fset: Callable[[Any, Any], Any] | None = None,
        fdel: Callable[[Any, Any], object] | None = None,
    ) -> None:
        super().__init__(fget)
        self._set, self._delete = fset, fdel

    def setter(self, fset: Callable[[Any, Any], Any]) -> cached_property:
        """The same, with what is called when it is set."""
        return type(self)(self.func, fset, self._delete)

    def deleter(self, fdel: Callable[[Any, Any], object]) -> cached_property:
        """The same, with what is called when it is deleted."""
        return type(self)(self.func, self._set, fdel)

    def __set__(self, instance: Any, value: Any) -> None:
        kept = value if self._set is None else self._set(instance, value)
        instance.__dict__[self.attrname] = kept

    def __delete__(self, instance: Any) -> None:
        value = instance.__dict__.pop(self.attrname, _NOTHING)
        if self._delete is not None and value is not _NOTHING:
            self._delete(instance, value)
