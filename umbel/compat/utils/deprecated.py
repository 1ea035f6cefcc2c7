"""Warnings about what will go.

Source:
    Celery internals reference, ``celery.utils.deprecated``: names, words of the warnings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable as Function
from functools import wraps
from typing import Any

from umbel.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from umbel.utils.imports import qualname

__all__ = ["Callable", "Property", "warn"]


def warn(
    description: str | None = None,
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    stacklevel: int = 2,
) -> None:
    """Say that something will go.

    Args:
        deprecation: The release in which it will be deprecated; None: it is.
        removal: The release in which it will be gone.
        stacklevel: As of :func:`warnings.warn`, for who calls this.
    """
    about: Warning
    if deprecation is None:
        about = CDeprecationWarning(
            f"\n    {description} is deprecated and scheduled for removal in\n"
            f"    version {removal}. {alternative}\n"
        )
    else:
        about = CPendingDeprecationWarning(
            f"\n    {description} is scheduled for deprecation in"
            f"     version {deprecation} and removal in version v{removal}."
            f"     {alternative}\n"
        )
    warnings.warn(about, stacklevel=stacklevel)


def Callable(  # noqa: N802 - documented name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> Function[[Function[..., Any]], Function[..., Any]]:
    """A decorator of functions: each call warns."""

    def decorate(function: Function[..., Any]) -> Function[..., Any]:
        @wraps(function)
        def warning(*args: Any, **kwargs: Any) -> Any:
            about = description or qualname(function)
            warn(about, deprecation, removal, alternative, stacklevel=3)
            return function(*args, **kwargs)

        return warning

    return decorate


class _Property(property):
    """A property whose use warns."""

    about: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        warn(*self.about, stacklevel=3)
        return super().__get__(instance, owner)

    def __set__(self, instance: Any, value: Any) -> None:
        if self.fset is not None:
            warn(*self.about, stacklevel=3)
        super().__set__(instance, value)

    def __delete__(self, instance: Any) -> None:
        if self.fdel is not None:
            warn(*self.about, stacklevel=3)
        super().__delete__(instance)

    def setter(self, fset: Function[[Any, Any], None]) -> _Property:
        """The same with a setter."""
        return self._with(_Property(self.fget, fset, self.fdel))

    def deleter(self, fdel: Function[[Any], None]) -> _Property:
        """The same with a deleter."""
        return self._with(_Property(self.fget, self.fset, fdel))

    def _with(self, made: _Property) -> _Property:
        made.about = self.about
        return made


def Property(  # noqa: N802 - documented name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> Function[[Function[[Any], Any]], Any]:
    """A decorator of methods: a property whose use warns."""

    def decorate(function: Function[[Any], Any]) -> _Property:
        made = _Property(function)
        made.about = (description or function.__name__, deprecation, removal, alternative)
        return made

    return decorate
