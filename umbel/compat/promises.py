"""``vine.promise``: something to be called once, and what is to be called then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["promise"]


class promise:  # noqa: N801 - vine's name
    """Calls a function when it is called itself, then those that wait for the value.

    >>> kept = promise(lambda x: x + 1)
    >>> _ = kept.then(promise(print))
    >>> kept(1)
    2
    2
    """

    def __init__(
        self,
        fun: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        on_error: Callable[[BaseException], Any] | None = None,
        **_: Any,
    ) -> None:
        self.fun = fun
        self.args, self.kwargs = tuple(args or ()), dict(kwargs or {})
        self.on_error = on_error
        self.ready = self.failed = self.cancelled = False
        self.value: Any = None
        self.reason: BaseException | None = None
        self._listeners: list[Callable[..., Any]] = []
        if callback is not None:
            self.then(callback)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, once."""
        if self.cancelled or self.ready:
            return None
        try:
            given = (*self.args, *args)
            value = self.fun(*given, **{**self.kwargs, **kwargs}) if self.fun else None
        except Exception as error:
            self.failed, self.reason = True, error
            if self.on_error is None:
                raise
            return self.on_error(error)
        # A promise of nothing passes on what it is called with.
        self.value = (value,) if self.fun else args
        self.ready = True
        for listener in self._listeners:
            listener(*self.value)
        return value

    def then(self, callback: Callable[..., Any], on_error: Any = None) -> Callable[..., Any]:
        """Have ``callback`` called with the value, now if it is there."""
        if self.ready:
            callback(*self.value)
        else:
            self._listeners.append(callback)
        return callback

    def cancel(self) -> None:
        """Never call it."""
        self.cancelled = True
