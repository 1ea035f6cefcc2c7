"""``async def`` tasks on threads that have no event loop: each thread gets one of its own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from umbel.protocols import Interrupts

if TYPE_CHECKING:
    import asyncio

__all__ = ["Farewell", "Loops"]

Farewell = Callable[[], Coroutine[Any, Any, None]]
"""Leaves an event loop as if it had never been there: closes what has been opened on it."""


class Loops:
    """An event loop per thread, made when its first coroutine comes."""

    def __init__(self, farewell: Farewell | None = None) -> None:
        """Have no loop yet.

        Args:
            farewell: Awaited on each loop before it is closed.
        """
        self._farewell = farewell
        self._local = threading.local()
        # Written by every thread that runs tasks, read by close() when they have ended.
        self._runners: list[asyncio.Runner] = []

    def drive(self, awaitable: Awaitable[Any], interrupts: Interrupts | None = None) -> Any:
        """Run to the end, in this thread; returns or raises what it does.

        Args:
            interrupts: What may interrupt it: then while it waits, too.
        """
        if not _is_loop_running():
            return self._drive_here(awaitable, interrupts)
        # Loops do not nest: an eager task inside a coroutine gets a thread, and a loop, for once.
        return _in_a_thread(lambda: _drive_once(awaitable, self._farewell))

    def close(self) -> None:
        """End the loops of all threads. None of them may be running."""
        if self._runners and _is_loop_running():
            _in_a_thread(self._close_here)
        else:
            self._close_here()

    def _close_here(self) -> None:
        while self._runners:
            runner = self._runners.pop()
            try:
                if self._farewell is not None:
                    runner.get_loop().run_until_complete(self._farewell())
            finally:
                runner.close()
        self._local = threading.local()

    def _drive_here(self, awaitable: Awaitable[Any], interrupts: Interrupts | None) -> Any:
        # asyncio costs 40 ms to import; a process that only has plain tasks never needs it.
        from umbel.pools.coroutines import Interruptible

        loop = self._loop()
        coroutine = Interruptible(_as_coroutine(awaitable))
        task: asyncio.Task[Any] = loop.create_task(coroutine)
        coroutine.belong_to(task)
        thread = threading.get_ident()

        def receive(error: BaseException) -> None:
            # Raised only in a line of the coroutine: between two lines of the loop it would
            # lose what the loop has in its hands, and perhaps the coroutine's next step.
            if coroutine.stepping and threading.get_ident() == thread:
                raise error
            # Thread-safe also because a signal comes between any two lines, and must wake the loop.
            loop.call_soon_threadsafe(coroutine.interrupt, error)

        if interrupts is not None:
            interrupts.divert(receive)
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                raise
            # A signal handler of the user's own has hit the loop: the task is meant.
            coroutine.interrupt(error)
        finally:
            if interrupts is not None:
                interrupts.divert(None)
        return loop.run_until_complete(task)

    def _loop(self) -> asyncio.AbstractEventLoop:
        runner: asyncio.Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            # See _drive_here.
            import asyncio

            # With a factory, the runner leaves the thread's current event loop alone.
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            self._local.runner = runner
            self._runners.append(runner)
        return runner.get_loop()


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _is_loop_running() -> bool:
    # See Loops.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _drive_once(awaitable: Awaitable[Any], farewell: Farewell | None) -> Any:
    loops = Loops(farewell)
    try:
        return loops.drive(awaitable)
    finally:
        loops.close()


def _in_a_thread(function: Callable[[], Any]) -> Any:
    """Call where no loop is running."""
    # As for asyncio, see Loops.
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1, "umbel-eager") as executor:
        return executor.submit(copy_context().run, function).result()
