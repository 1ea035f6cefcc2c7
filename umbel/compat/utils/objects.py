"""More about objects.

Source:
    Celery internals reference, ``celery.utils.objects``: names and behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

__all__ = ["FallbackContext", "getitem_property"]

T = TypeVar("T")


class FallbackContext(Generic[T]):
    """What is given, which is left as it is; else what is made, entered and left.

    Args:
        provided: What is given; None: nothing.
        fallback: Makes the context, of the other arguments.
    """

    def __init__(
        self,
        provided: T | None,
        fallback: Callable[..., AbstractContextManager[T]],
        *fb_args: Any,
        **fb_kwargs: Any,
    ) -> None:
        self.provided = provided
        self.fallback = fallback
        self.fb_args = fb_args
        self.fb_kwargs = fb_kwargs
        self._context: AbstractContextManager[T] | None = None

    def __enter__(self) -> T:
        if self.provided is not None:
            return self.provided
        context = self.fallback(*self.fb_args, **self.fb_kwargs)
        entered = context.__enter__()
        self._context = context
        return entered

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return None if self._context is None else self._context.__exit__(kind, error, traceback)


class getitem_property:  # noqa: N801 - documented name
    """An attribute that is a key of the object: ``name``, or ``a.name`` for ``["a"]["name"]``.

    A key that is not there is None.
    """

    def __init__(self, keypath: str, doc: str | None = None) -> None:
        *self.path, self.key = keypath.split(".")
        self.__doc__ = doc

    def __get__(self, obj: Any, type: Any = None) -> Any:
        return type if obj is None else self._holder(obj).get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        self._holder(obj)[self.key] = value

    def _holder(self, obj: Any) -> Any:
        for name in self.path:
            obj = obj[name]
        return obj
