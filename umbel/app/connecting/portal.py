"""How synchronous code reaches the asyncio core: one event loop that its callers drive in turn.

There is no background thread. Whoever calls while nobody drives the loop drives it until the
call is done (no thread switch: a call costs half of what a hand-over to a thread would); whoever
calls meanwhile hands in a coroutine, and takes over driving if it is not done when the first one
leaves. Between calls the loop stands still, and the kernel keeps what arrives.

A forked child starts with a loop of its own. Where gevent or eventlet have made greenlets of
threads, greenlets drive it: while the one that does waits for the network, the others go on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Portal"]

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that closing waits for other threads' calls, which it has cancelled."""


class _Turn:
    """One call that waits until it is done, or until it is its turn to drive the loop."""

    __slots__ = ("promoted", "task", "wakeup")

    def __init__(self) -> None:
        # Set on the loop, before anything else that its caller can observe.
        self.task: asyncio.Task[Any] | None = None
        # Guarded by the portal's mutex. Once promoted, only its caller may end the turn.
        self.promoted = False
        self.wakeup = threading.Lock()
        self.wakeup.acquire()


class Portal:
    """Runs coroutines for synchronous callers; safe to use from any thread and after a fork."""

    def __init__(self) -> None:
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        # Guarded by the mutex: whether somebody drives, and who waits.
        self._driven = False
        # Who drives, written by nobody else: a thread, or a greenlet where threads are greenlets.
        self._driver: int | None = None
        self._turns: deque[_Turn] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._below: Portal | None = None

    @property
    def opened(self) -> bool:
        """Whether anything has been called through it in this process."""
        return self._loop is not None and self._pid == os.getpid()

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Await ``function(*args)`` on the portal's loop and return what it returns.

        Called where a loop runs already (synchronous code below a coroutine), it uses a thread,
        and blocks the running loop meanwhile: there the ``a``-prefixed methods are better.
        """
        if self._pid != os.getpid():
            self._abandon()
        loop = self._loop or self._open()
        # As _running_loop has it: this is on every task's way.
        asyncio = sys.modules.get("asyncio")
        running = None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001
        if running is not None and (running is not loop or self._driver == threading.get_ident()):
            return self._call_from_a_loop(running is loop, function, *args)
        with self._mutex:
            if self._driven:
                turn = _Turn()
                self._turns.append(turn)
            else:
                turn = None
                self._driven = True
        if turn is not None:
            return self._wait(loop, turn, function(*args))
        self._driver = threading.get_ident()
        try:
            return _run(loop, function(*args))
        finally:
            self._pass_on()

    def _call_from_a_loop(
        self, is_own: bool, function: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        """Have a thread call, since this one runs a loop already.

        Below a coroutine on our own loop (a signal's receiver that sends a task, say) another loop
        has to do it: ours stands still until this returns.
        """
        portal = self
        if is_own:
            portal = self._below = self._below or Portal()

        def work() -> T:
            if sys.modules["asyncio"]._get_running_loop() is not None:  # noqa: SLF001
                # It would wait for this greenlet, which waits for it.
                raise RuntimeError(
                    "this greenlet runs an asyncio loop, and what is called below it needs another"
                    " thread: await the method whose name begins with 'a' instead"
                )
            return portal.call(function, *args)

        return self._open_thread().submit(work).result()

    def call_everywhere(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """:meth:`call`, on every loop that there is."""
        self.call(function)
        if self._below is not None:
            self._below.call(function)

    def close(self) -> None:
        """Close the loop. Whatever lives on it must have been closed before.

        What other threads call at the moment is cancelled: they get a ``CancelledError``.
        """
        if self._pid != os.getpid():
            return
        if self._below is not None:
            self._below.close()
        if self._loop is not None and self._driver != threading.get_ident():
            if _running_loop() is not None:
                self._open_thread().submit(self._close, self._loop).result()
            else:
                self._close(self._loop)
        if self._thread is not None:
            self._thread.shutdown()
        self._start_over()

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._take_over(loop) and not loop.is_closed():
            self._driver = threading.get_ident()
            loop.run_until_complete(_end_all())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _take_over(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Become who drives the loop for the last time; False: whoever does is stuck."""
        with self._mutex:
            if not self._driven:
                self._driven = True
                return True
            turn = _Turn()
            self._turns.appendleft(turn)

        def cancel() -> None:
            if not turn.promoted:
                for task in sys.modules["asyncio"].all_tasks():
                    task.cancel()

        loop.call_soon_threadsafe(cancel)
        if turn.wakeup.acquire(timeout=_PATIENCE):
            return True
        with self._mutex:
            if not turn.promoted:
                self._turns.remove(turn)
        return turn.promoted

    def _wait(
        self, loop: asyncio.AbstractEventLoop, turn: _Turn, work: Coroutine[Any, Any, T]
    ) -> T:
        def start() -> None:
            turn.task = loop.create_task(work)
            turn.task.add_done_callback(finished)

        def finished(_: object) -> None:
            with self._mutex:
                if not turn.promoted and turn in self._turns:
                    self._turns.remove(turn)
                    turn.wakeup.release()

        loop.call_soon_threadsafe(start)
        woken = False
        try:
            turn.wakeup.acquire()
            woken = True
        finally:
            # A signal's exception (Ctrl-C) leaves the queue; others must not wait for us.
            if not woken:
                self._give_up(loop, turn)
        if not turn.promoted:
            assert turn.task is not None
            return cast("T", turn.task.result())
        self._driver = threading.get_ident()
        try:
            return cast("T", _run(loop, _result_of(turn)))
        finally:
            self._pass_on()

    def _give_up(self, loop: asyncio.AbstractEventLoop, turn: _Turn) -> None:
        with self._mutex:
            if turn in self._turns:
                self._turns.remove(turn)
            promoted = turn.promoted
        loop.call_soon_threadsafe(lambda: turn.task and turn.task.cancel())
        if promoted:
            self._pass_on()

    def _pass_on(self) -> None:
        self._driver = None
        with self._mutex:
            if self._turns:
                turn = self._turns.popleft()
                turn.promoted = True
                turn.wakeup.release()
            else:
                self._driven = False

    def _open(self) -> asyncio.AbstractEventLoop:
        # asyncio costs 40 ms to import; a program that only defines tasks never needs it.
        import asyncio

        with self._mutex:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(_tell_unless_dropped)
            return self._loop

    def _open_thread(self) -> ThreadPoolExecutor:
        # Needed only where a loop runs already; see _open for the cost of importing.
        from concurrent.futures import ThreadPoolExecutor

        with self._mutex:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="umbel-portal")
            return self._thread

    def _abandon(self) -> None:
        # The parent's loop and its connections are not ours to close, nor may they be collected:
        # closing an epoll object or a transport here would reach into the parent's.
        _abandoned.append(self._loop)
        self._start_over()


_abandoned: list[object] = []
"""What a fork left behind; written only in the first call after a fork."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of this thread: of this greenlet or another one, where threads are greenlets."""
    # Whoever runs a loop has imported asyncio; asking must not import it.
    asyncio = sys.modules.get("asyncio")
    # get_running_loop() raises where there is none: five times as slow, at every call.
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001


async def _end_all() -> None:
    """Cancel whatever else there is on the loop, and see it end."""
    # Only called on a running loop, which has imported asyncio long before.
    import asyncio

    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        _, stuck = await asyncio.wait(others, timeout=_PATIENCE)
        if stuck:
            return
    # Their callers are told of it in the loop's next round.
    await asyncio.sleep(0)


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    task = loop.create_task(_ending(loop, work))
    try:
        # A loop that is stopped in the step that ends the work is spared the turn in which
        # run_until_complete() would hear of it.
        while not task.done():
            loop.run_forever()
        return task.result()
    finally:
        # A signal's exception leaves the work behind, and nobody waits for it any more.
        if not task.done():
            task.cancel()


def _tell_unless_dropped(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # An app that nobody holds any more goes without being closed, and what keeps its connections
    # goes with it: asyncio's word for that is no news for whoever dropped it.
    if "exception" in context or "was destroyed" not in context["message"]:
        loop.default_exception_handler(context)


async def _ending(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    finally:
        loop.stop()


async def _result_of(turn: _Turn) -> Any:
    # Whatever was handed in before has started by now: the loop keeps the order.
    assert turn.task is not None
    return await turn.task
