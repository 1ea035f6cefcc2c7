"""Exceptions that can be pickled, and values that can be written as JSON.

Source:
    Celery internals reference, ``celery.utils.serialization``: names and behaviour.
"""

from __future__ import annotations

import datetime as dt
import numbers
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Any, NoReturn

from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.saferepr import saferepr

__all__ = [
    "UnpickleableExceptionWrapper",
    "create_exception_cls",
    "ensure_serializable",
    "find_pickleable_exception",
    "get_pickleable_etype",
    "get_pickleable_exception",
    "get_pickled_exception",
    "itermro",
    "jsonify",
    "raise_with_context",
    "subclass_exception",
    "unwanted_base_classes",
]

Loads = Callable[[Any], Any]
Dumps = Callable[[Any], Any]

unwanted_base_classes = (Exception, BaseException, object)
"""What says too little to stand for an exception."""


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    """A new exception class, as if it were defined in that module."""
    return type(name, (parent,), {"__module__": module})


def create_exception_cls(
    name: str, module: str, parent: type[BaseException] | None = None
) -> type[BaseException]:
    """A new exception class; of ``Exception`` if no parent is given."""
    return subclass_exception(name, parent or Exception, module)


def itermro(cls: type, stop: Iterable[type]) -> Iterator[type]:
    """A class and those above it, up to one of ``stop``."""
    ends = tuple(stop)
    return takewhile(lambda kind: kind not in ends, cls.__mro__)


def find_pickleable_exception(
    exc: BaseException,
    # What is read was written a moment before.
    loads: Loads = pickle.loads,
    dumps: Dumps = pickle.dumps,
) -> BaseException | None:
    """The exception, made of the nearest class that can be pickled; None: there is none."""
    for kind in itermro(type(exc), unwanted_base_classes):
        try:
            made: BaseException = kind(*getattr(exc, "args", ()))
            loads(dumps(made))
        except Exception:  # noqa: BLE001, S112 - user code; the next class may do
            continue
        return made
    return None


def ensure_serializable(items: Iterable[Any], encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The items, those that ``encoder`` refuses as their ``repr``."""
    return tuple(item if _accepts(encoder, item) else saferepr(item) for item in items)


def _accepts(encoder: Callable[[Any], Any], item: Any) -> bool:
    try:
        encoder(item)
    except Exception:  # noqa: BLE001 - user code
        return False
    return True


def _is_pickleable(value: Any) -> bool:
    return _accepts(lambda given: pickle.loads(pickle.dumps(given)), value)  # noqa: S301 - as above


class UnpickleableExceptionWrapper(Exception):
    """Stands for an exception that cannot be pickled."""

    def __init__(
        self, exc_module: str, exc_cls_name: str, exc_args: Iterable[Any], text: str | None = None
    ) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = tuple(item if _is_pickleable(item) else saferepr(item) for item in exc_args)
        self.text = text
        super().__init__(exc_module, exc_cls_name, self.exc_args, text)

    def restore(self) -> BaseException:
        """An exception of a class of that name, made for it."""
        return create_exception_cls(self.exc_cls_name, self.exc_module)(*self.exc_args)

    def __str__(self) -> str:
        return self.text or ""

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        """What stands for that exception."""
        kind = type(exc)
        made = cls(kind.__module__, kind.__name__, getattr(exc, "args", ()), saferepr(exc))
        return made.with_traceback(exc.__traceback__)


def get_pickleable_exception(exc: BaseException) -> BaseException:
    """The exception if it can be pickled, else the nearest that can."""
    if _is_pickleable(exc):
        return exc
    return find_pickleable_exception(exc) or UnpickleableExceptionWrapper.from_exception(exc)


def get_pickleable_etype(
    cls: type[BaseException], loads: Loads = pickle.loads, dumps: Dumps = pickle.dumps
) -> type[BaseException]:
    """The class if it can be pickled, else ``Exception``."""
    return cls if _accepts(lambda given: loads(dumps(given)), cls) else Exception


def get_pickled_exception(exc: Any) -> Any:
    """What :func:`get_pickleable_exception` was given, or the like of it."""
    return exc.restore() if isinstance(exc, UnpickleableExceptionWrapper) else exc


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (numbers.Real, str),
    key: Any = None,
    keyfilter: Callable[[Any], Any] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """A value made of what JSON has.

    Args:
        builtin_types: What is left as it is.
        key: The key it is under, for the error.
        keyfilter: Which keys of dicts are kept.
        unknown_type_filter: Makes something of what JSON has not.

    Raises:
        ValueError: JSON has not got it.

    >>> jsonify({"at": dt.date(2026, 5, 4), "of": (1, 2)})
    {'at': '2026-05-04', 'of': [1, 2]}
    """

    def below(value: Any, under: Any = key) -> Any:
        return jsonify(value, builtin_types, under, keyfilter, unknown_type_filter)

    if obj is None or isinstance(obj, builtin_types):
        return obj
    if is_list(obj):
        return [below(item) for item in obj]
    if is_dict(obj):
        return {k: below(v, k) for k, v in obj.items() if keyfilter is None or keyfilter(k)}
    if isinstance(obj, dt.datetime | dt.time | dt.date):
        return _moment(obj)
    if isinstance(obj, dt.timedelta):
        return str(obj)
    if unknown_type_filter is None:
        raise ValueError(f"Unsupported type: {type(obj)!r} {obj!r} (parent: {key})")
    return unknown_type_filter(obj)


def _moment(value: dt.datetime | dt.time | dt.date) -> str:
    """As ECMAScript writes moments: milliseconds, and Z for UTC.

    Source: ECMA-262, "Date Time String Format".
    """
    if isinstance(value, dt.datetime):
        text = value.isoformat(timespec="milliseconds" if value.microsecond else "auto")
        return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    if isinstance(value, dt.time) and value.microsecond:
        return value.isoformat(timespec="milliseconds")[:12]
    return value.isoformat()


def raise_with_context(exc: BaseException) -> NoReturn:
    """Raise, with the exception that is being handled as the cause."""
    handled = sys.exc_info()[1]
    if handled is None or handled is exc:
        raise exc
    raise exc from handled
