"""What a task or a signature is: anything that has these methods.

Source:
    Celery internals reference, ``celery.utils.abstract``: names.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any, TypeVar

__all__ = ["CallableSignature", "CallableTask"]

_Type = TypeVar("_Type", bound=type)


class _ByMethods(metaclass=ABCMeta):
    """A class for whatever has the methods that :attr:`required` names, and can be called."""

    required: frozenset[str] = frozenset()

    @classmethod
    def register(cls, other: _Type) -> _Type:
        """Count a class in; a decorator."""
        ABCMeta.register(cls, other)
        return other

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        has_all = all(any(name in vars(kind) for kind in other.__mro__) for name in cls.required)
        return ("required" in vars(cls) and has_all) or NotImplemented

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class CallableTask(_ByMethods):
    """What can be called, now or later, like a task."""

    required = frozenset({"delay", "apply_async", "apply"})

    @abstractmethod
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send a call with these arguments."""

    @abstractmethod
    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send a call."""

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here."""


class CallableSignature(CallableTask):
    """What can be called, linked and combined like a signature."""

    required = frozenset({"clone", "freeze", "set", "link", "link_error", "__or__"})

    @abstractmethod
    def clone(self, args: Any = None, kwargs: Any = None) -> Any:
        """A copy with more arguments."""

    @abstractmethod
    def freeze(self, id: Any = None, group_id: Any = None, chord: Any = None) -> Any:
        """Fix the id."""

    @abstractmethod
    def set(self, immutable: Any = None, **options: Any) -> Any:
        """Set options."""

    @abstractmethod
    def link(self, callback: Any) -> Any:
        """Call something after success."""

    @abstractmethod
    def link_error(self, errback: Any) -> Any:
        """Call something after failure."""

    @abstractmethod
    def __or__(self, other: Any) -> Any: ...

    @abstractmethod
    def __invert__(self) -> Any: ...
