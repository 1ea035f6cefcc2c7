"""Coroutines that can be interrupted, and their time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

from umbel.exceptions import SoftTimeLimitExceeded
from umbel.model import Outcome, Request
from umbel.pools.limits import say_soft

__all__ = ["Interruptible", "within_limits"]


class Interruptible(Coroutine[Any, Any, Any], Iterator[Any]):
    """A coroutine into which any exception can be thrown from outside where it waits, as
    asyncio's cancellation is.

    While a coroutine waits its thread runs the loop, which an exception between two lines would
    break; and ``asyncio.Task.cancel`` throws nothing but ``CancelledError``. So the task is
    cancelled, and what is thrown into the coroutine is exchanged on the way.
    """

    __slots__ = ("_inner", "_interruption", "_task", "stepping")

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self._interruption: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None
        self.stepping = False
        """Whether it runs, rather than waits, at this moment."""

    def belong_to(self, task: asyncio.Task[Any] | None) -> None:
        """``task`` is the one that runs it."""
        self._task = task

    def interrupt(self, error: BaseException) -> None:
        """Throw ``error`` into it, where it waits or will wait next. On its loop."""
        task = self._task
        if task is not None and not task.done():
            self._interruption = error
            task.cancel()

    def cancel(self) -> None:
        """Cancel the task that runs it. On its loop."""
        if self._task is not None:
            self._task.cancel()

    def send(self, value: Any) -> Any:
        """Go on."""
        error = self._taken()
        self.stepping = True
        try:
            # An interruption here: what it waited for has swallowed the cancellation.
            return self._inner.send(value) if error is None else self._inner.throw(error)
        finally:
            self.stepping = False

    def throw(self, *args: Any) -> Any:
        """Go on with an exception: the interruption, where there was one."""
        error = self._taken()
        self.stepping = True
        try:
            return self._inner.throw(*args) if error is None else self._inner.throw(error)
        finally:
            self.stepping = False

    def close(self) -> None:
        """End."""
        self._inner.close()

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _taken(self) -> BaseException | None:
        error, self._interruption = self._interruption, None
        if error is not None and self._task is not None:
            # It was no cancellation: timeouts and groups inside must not take it for one.
            self._task.uncancel()
        return error


async def within_limits(
    run: Coroutine[Any, Any, Outcome], request: Request, overrun: Callable[[Request], None]
) -> Outcome:
    """Await ``run`` under the request's limits, which count from here.

    When the soft one is over, ``SoftTimeLimitExceeded`` is raised where ``run`` waits. When the
    hard one is, ``overrun`` is called; it has to cancel the current task.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    if request.time_limit is not None:
        timers.append(loop.call_later(request.time_limit, overrun, request))
    if request.soft_time_limit is not None:
        interruptible = Interruptible(run)
        interruptible.belong_to(asyncio.current_task())
        timers.append(loop.call_later(request.soft_time_limit, _interrupt, interruptible, request))
        run = interruptible
    try:
        return await run
    finally:
        for timer in timers:
            timer.cancel()


def _interrupt(run: Interruptible, request: Request) -> None:
    say_soft(request)
    run.interrupt(SoftTimeLimitExceeded())
