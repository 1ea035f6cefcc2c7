"""More about functions, sequences and states.

Source:
    Celery reference, ``celery.utils.functional`` and ``celery.states``: names and behaviour.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import tee, zip_longest
from typing import Any, Self, TypeVar

from umbel import states
from umbel.utils.functional import maybe_evaluate

__all__ = [
    "NONE_PRECEDENCE",
    "PRECEDENCE",
    "PRECEDENCE_LOOKUP",
    "DummyContext",
    "arity_greater",
    "evaluate_promises",
    "fun_takes_argument",
    "is_numeric_value",
    "lookahead",
    "pass1",
    "register_after_fork",
    "seq_concat_item",
    "seq_concat_seq",
]

T = TypeVar("T")

PRECEDENCE: list[str | None] = [
    *(states.SUCCESS, states.FAILURE, None, states.REVOKED, states.STARTED),
    *(states.RECEIVED, states.REJECTED, states.RETRY, states.PENDING),
]
"""States by their rank, the highest first; None stands for those of tasks' own making."""
PRECEDENCE_LOOKUP = {state: rank for rank, state in enumerate(PRECEDENCE)}
NONE_PRECEDENCE = PRECEDENCE_LOOKUP[None]


class DummyContext(AbstractContextManager["DummyContext"]):
    """A context that does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None: ...


def pass1(arg: T, *_args: Any, **_kwargs: Any) -> T:
    """The first argument."""
    return arg


def evaluate_promises(it: Iterable[Any]) -> Iterator[Any]:
    """The items, those that are lazy evaluated."""
    return map(maybe_evaluate, it)


def lookahead(it: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each item with the next one; the last one with None.

    >>> list(lookahead("abc"))
    [('a', 'b'), ('b', 'c'), ('c', None)]
    """
    first, second = tee(it)
    next(second, None)
    return zip_longest(first, second)


def arity_greater(fun: Callable[..., Any], n: int) -> Any:
    """Whether a function can be called with more than ``n`` arguments."""
    spec = inspect.getfullargspec(fun)
    return spec.varargs or len(spec.args) > n


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Whether a function can be called with an argument: that many, or of that name."""
    spec = inspect.getfullargspec(fun)
    anything = spec.varkw or spec.varargs
    return anything or (len(spec.args) >= position if position else name in spec.args)


def seq_concat_item(seq: Any, item: Any) -> Any:
    """A sequence with one more item.

    >>> seq_concat_item((1,), 2), seq_concat_item([1], 2)
    ((1, 2), [1, 2])
    """
    return (*seq, item) if isinstance(seq, tuple) else [*seq, item]


def seq_concat_seq(a: Sequence[Any], b: Sequence[Any]) -> Any:
    """Two sequences as one, of the kind of the longer one.

    >>> seq_concat_seq((1,), [2, 3]), seq_concat_seq((1, 2), [3])
    ([1, 2, 3], (1, 2, 3))
    """
    kind: Any = type(max([a, b], key=len))
    return kind([*a, *b])


def is_numeric_value(value: object) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def register_after_fork(obj: Any, func: Callable[[Any], object]) -> None:
    """``kombu.utils.compat``: have ``func(obj)`` called in each process that is forked, as long as
    ``obj`` is there."""
    held = weakref.ref(obj)

    def call() -> None:
        found = held()
        if found is not None:
            func(found)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)
