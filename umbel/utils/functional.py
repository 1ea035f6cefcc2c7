"""Small things about functions and iterables.

Source:
    Celery reference, ``celery.utils.functional``: names and behaviour.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from itertools import islice
from typing import Any, Generic, TypeGuard, TypeVar

__all__ = [
    "LRUCache",
    "chunks",
    "dictfilter",
    "first",
    "firstmethod",
    "fun_accepts_kwargs",
    "head_from_fun",
    "is_list",
    "lazy",
    "mattrgetter",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "padlist",
    "uniq",
]

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


class LRUCache(OrderedDict[K, V]):
    """A dict that forgets what was not used for longest.

    Args:
        limit: Most items; None: all.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.mutex = threading.RLock()

    def __getitem__(self, key: K) -> V:
        with self.mutex:
            value = super().__getitem__(key)
            self.move_to_end(key)
            return value

    def __setitem__(self, key: K, value: V) -> None:
        with self.mutex:
            super().__setitem__(key, value)
            self.move_to_end(key)
            while self.limit is not None and len(self) > self.limit:
                del self[next(iter(self))]

    def __reduce__(self) -> Any:
        return partial(_cache_of, type(self), self.limit), (list(self.items()),)


def _cache_of(kind: type[LRUCache[K, V]], limit: int | None, items: list[tuple[K, V]]) -> Any:
    cache = kind(limit)
    for key, value in items:
        cache[key] = value
    return cache


class lazy(Generic[T]):  # noqa: N801 - documented name
    """A call that is made when it is asked for, each time."""

    def __init__(self, fun: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        self._call = partial(fun, *args, **kwargs)

    def __call__(self) -> T:
        """Make the call."""
        return self.evaluate()

    def evaluate(self) -> T:
        """Make the call."""
        return self._call()

    def __str__(self) -> str:
        return str(self())

    def __repr__(self) -> str:
        return repr(self())

    def __eq__(self, other: object) -> bool:
        return self() == other

    def __hash__(self) -> int:
        return hash(self())


class mlazy(lazy[T]):  # noqa: N801 - documented name
    """A call that is made once, when it is asked for."""

    evaluated = False
    _value: T

    def evaluate(self) -> T:
        """What the call has returned."""
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value


def maybe_evaluate(value: Any) -> Any:
    """What a :class:`lazy` returns; anything else is what it is."""
    # isinstance() cannot say of what it is lazy.
    return value.evaluate() if _is_lazy(value) else value


def _is_lazy(value: object) -> TypeGuard[lazy[Any]]:
    return isinstance(value, lazy)


def memoize(
    maxsize: int | None = None,
    keyfun: Callable[..., Any] | None = None,
    Cache: Callable[..., LRUCache[Any, Any]] = LRUCache,  # noqa: N803 - documented name
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Remember what a function has returned.

    The function gets ``clear()``, and counts ``hits`` and ``misses``.

    Args:
        maxsize: Most results.
        keyfun: Makes a key of the arguments.
    """

    def remembering(function: Callable[..., T]) -> Callable[..., T]:
        cache = Cache(limit=maxsize)

        @wraps(function)
        def remembered(*args: Any, **kwargs: Any) -> T:
            key = keyfun(args, kwargs) if keyfun else (args, tuple(sorted(kwargs.items())))
            try:
                value: T = cache[key]
            except KeyError:
                value = cache[key] = function(*args, **kwargs)
                counts["misses"] += 1
            else:
                counts["hits"] += 1
            return value

        counts: dict[str, Any] = vars(remembered)

        def clear() -> None:
            cache.clear()
            counts.update(hits=0, misses=0)

        counts.update(hits=0, misses=0, clear=clear, original_func=function)
        return remembered

    return remembering


def noop(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing."""


def first(predicate: Callable[[T], object] | None, it: Iterable[T]) -> T | None:
    """The first item of which ``predicate`` holds, else None.

    Args:
        predicate: None: the item is not None.

    >>> first(str.isupper, ["a", "B", "C"])
    'B'
    """
    found = (item for item in it if (predicate(item) if predicate else item is not None))
    return next(found, None)


def firstmethod(method: str, on_call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function of objects and arguments: what the first of the objects that has an answer says.

    Args:
        method: The method to ask. Objects without it, and answers that are None, are passed over.
        on_call: Called with the method and the arguments, instead of the method.
    """

    def ask(it: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for candidate in it:
            function = getattr(maybe_evaluate(candidate), method, None)
            if function is None:
                continue
            answer = (partial(on_call, function) if on_call else function)(*args, **kwargs)
            if answer is not None:
                return answer
        return None

    return ask


def chunks(it: Iterator[T], n: int) -> Iterator[list[T]]:
    """The items in lists of ``n``; the last one may be shorter.

    >>> list(chunks(iter("abcde"), 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    items = iter(it)
    return iter(lambda: list(islice(items, n)), [])


def padlist(container: Iterable[T], size: int, default: T | None = None) -> list[T | None]:
    """Exactly ``size`` items: cut, or filled up.

    >>> padlist(["a", "b"], 3)
    ['a', 'b', None]
    """
    items: list[T | None] = list(islice(container, size))
    return items + [default] * (size - len(items))


def mattrgetter(*attrs: str) -> Callable[[object], dict[str, Any]]:
    """A function that reads these attributes; missing ones are None."""
    return lambda holder: {name: getattr(holder, name, None) for name in attrs}


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Each item once, in order.

    >>> list(uniq([3, 1, 3, 2, 1]))
    [3, 1, 2]
    """
    return iter(dict.fromkeys(it))


def is_list(
    obj: object,
    scalars: tuple[type, ...] = (Mapping, str),
    iters: tuple[type, ...] = (Iterable,),
) -> bool:
    """Whether it is many values rather than one: texts and mappings are one."""
    return isinstance(obj, iters) and not isinstance(obj, scalars)


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """One value in a list; None and many values are what they are.

    >>> maybe_list("a"), maybe_list(["a"]), maybe_list(None)
    (['a'], ['a'], None)
    """
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: Mapping[str, T | None] | None = None, **kw: T | None) -> dict[str, T]:
    """The items that are not None.

    >>> dictfilter({"queue": "mail", "eta": None}, priority=3)
    {'queue': 'mail', 'priority': 3}
    """
    return {key: value for key, value in {**(d or {}), **kw}.items() if value is not None}


def maybe(typ: Callable[[Any], T], val: Any) -> T | None:
    """``typ(val)``, unless it is None."""
    return None if val is None else typ(val)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Whether the function takes any keyword argument."""
    parameters = inspect.signature(fun).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def head_from_fun(fun: Callable[..., Any], bound: bool = False) -> Callable[..., Any]:
    """A function that takes what ``fun`` takes, and does nothing: a call of it checks arguments.

    Args:
        bound: The first parameter is given already.
    """
    signature = inspect.signature(fun)
    given = (None,) if bound else ()

    def head(*args: Any, **kwargs: Any) -> None:
        signature.bind(*given, *args, **kwargs)

    head.__name__ = getattr(fun, "__name__", type(fun).__name__)
    return head
