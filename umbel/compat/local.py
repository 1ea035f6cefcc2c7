"""What stands for something else, looked up at each use, or once.

Source:
    Celery internals reference, ``celery.local``: names and behaviour.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from umbel.app import current

__all__ = ["PromiseProxy", "Proxy", "maybe_evaluate"]

_UNARY = ("neg", "pos", "abs", "invert", "index", "int", "float", "complex", "len", "iter", "next")
_BINARY = (
    *("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod"),
    *("divmod", "pow", "lshift", "rshift", "and", "or", "xor", "getitem", "delitem", "contains"),
)
_BUILTIN: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (int, float, complex, len, iter, next, divmod, pow)
}


class Proxy(current.Proxy[Any]):
    """Stands for what a call returns, in every respect.

    Args:
        local: What is called.
        args: What it is called with.
        name: ``__name__``, instead of that of what is called for.
        __doc__: Likewise.

    >>> Proxy(lambda: [1, 2])[0], len(Proxy(list, ("abc",))), Proxy(lambda: 2) + 3
    (1, 3, 5)
    """

    __slots__ = ("__dict__",)

    def __init__(
        self,
        local: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        if hasattr(local, "__release_local__"):
            # One of ``celery.utils.threads``: the attribute of that name, of each thread.
            super().__init__(lambda: getattr(local, str(name)))
        else:
            super().__init__(lambda: local(*(args or ()), **(kwargs or {})))
        given = {"__name__": name, "__doc__": __doc__}
        own: dict[str, Any] = object.__getattribute__(self, "__dict__")
        own.update({key: value for key, value in given.items() if value is not None})

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            return self._get_current_object().__dict__
        if name in {"__doc__", "__module__", "__qualname__"}:
            own: dict[str, Any] = object.__getattribute__(self, "__dict__")
            return own[name] if name in own else getattr(self._get_current_object(), name)
        return super().__getattribute__(name)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __ne__(self, other: object) -> bool:
        return bool(self._get_current_object() != other)

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *error: object) -> Any:
        return self._get_current_object().__exit__(*error)


def _unary(function: Callable[[Any], Any]) -> Callable[[Proxy], Any]:
    return lambda proxy: function(proxy._get_current_object())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Proxy, Any], Any]:
    return lambda proxy, other: function(proxy._get_current_object(), other)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _function(name: str) -> Any:
    return _BUILTIN.get(name) or getattr(operator, f"__{name}__")


# Operators are looked up on the class, never through __getattr__.
for _name in _UNARY:
    setattr(Proxy, f"__{_name}__", _unary(_function(_name)))
for _name in _BINARY:
    setattr(Proxy, f"__{_name}__", _binary(_function(_name)))


class PromiseProxy(Proxy):
    """Stands for what a call returns that is made once, at the first use."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own: dict[str, Any] = object.__getattribute__(self, "__dict__")
        look_up = self._look_up

        def once() -> Any:
            if "found" not in own:
                own["found"] = look_up()
                waiting: deque[Callable[[], object]] = own.pop("waiting", deque())
                while waiting:
                    waiting.popleft()()
            return own["found"]

        object.__setattr__(self, "_look_up", once)

    def __then__(self, fun: Callable[..., object], *args: Any, **kwargs: Any) -> object:
        """Call something once it is there; at once if it is."""
        if self.__evaluated__():
            return fun(*args, **kwargs)
        own: dict[str, Any] = object.__getattribute__(self, "__dict__")
        own.setdefault("waiting", deque()).append(lambda: fun(*args, **kwargs))
        return None

    def __evaluated__(self) -> bool:
        """Whether it is there."""
        return "found" in object.__getattribute__(self, "__dict__")

    def __maybe_evaluate__(self) -> Any:
        """What it stands for."""
        return self._get_current_object()

    __evaluate__ = __maybe_evaluate__


def maybe_evaluate(obj: Any) -> Any:
    """What a promise stands for; anything else is what it is."""
    return obj._get_current_object() if type(obj) is PromiseProxy else obj  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
