"""Whether waiting for a result is allowed here: inside a task it is not."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "allow_join_result",
    "ask_whether_a_task_runs",
    "assert_will_not_block",
    "denied_join_result",
    "forbid_waiting",
]

_ADVICE = (
    "Never call result.get() within a task! "
    "It holds a slot that the awaited task may need, and can stand still for ever. "
    "Chain the tasks instead, or wrap the call in allow_join_result() if you know it is safe."
)

# True in processes that do nothing but run tasks; overridden piecewise by the two below.
_process_forbids = False
_a_task_runs: Callable[[], bool] = bool
_here: ContextVar[bool | None] = ContextVar("umbel_waiting_forbidden", default=None)


def ask_whether_a_task_runs(answer: Callable[[], bool]) -> None:
    """Say who knows whether the caller is a task that a worker runs."""
    global _a_task_runs  # noqa: PLW0603 - set once, by the layer that runs tasks
    _a_task_runs = answer


def forbid_waiting() -> None:
    """From now on this process only runs tasks: waiting for results needs permission."""
    global _process_forbids  # noqa: PLW0603 - a property of the process
    _process_forbids = True


def assert_will_not_block() -> None:
    """Raises: RuntimeError: in a task, where waiting for another one can stand still for ever."""
    here = _here.get()
    if here is None:
        here = _process_forbids or _a_task_runs()
    if here:
        raise RuntimeError(_ADVICE)


@contextmanager
def allow_join_result() -> Generator[None]:
    """Allow waiting for results in this block."""
    token = _here.set(False)
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def denied_join_result() -> Generator[None]:
    """Forbid waiting for results in this block."""
    token = _here.set(True)
    try:
        yield
    finally:
        _here.reset(token)
