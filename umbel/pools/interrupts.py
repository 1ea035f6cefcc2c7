"""Exceptions raised inside threads that run tasks."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Literal, TypeAlias

from umbel.clock import SystemClock
from umbel.exceptions import SoftTimeLimitExceeded, TaskCancelled
from umbel.model import Request
from umbel.pools.limits import is_limited, logger, say_soft
from umbel.protocols import Receiver

__all__ = ["NoInterrupts", "ThreadInterrupts", "TimerInterrupts"]

_CLOCK = SystemClock()
_Call: TypeAlias = Literal["soft", "hard", "end"]
"""What the timer rings for: a limit, or the end of the worker."""


class NoInterrupts:
    """Nothing is ever raised: for coroutines that their pool interrupts by itself."""

    every = False

    def begin(self, request: Request) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Nothing to do."""

    def divert(self, receiver: Receiver | None) -> None:
        """Nothing to do."""


class _Window:
    """While it is open, the thread runs user code for the request."""

    __slots__ = ("is_struck", "key", "receiver", "thread")

    def __init__(self, key: int) -> None:
        self.key = key
        self.thread = threading.get_ident()
        self.receiver: Receiver | None = None
        self.is_struck = False
        """Whether the interpreter has been asked to raise something, which may be still to come."""


class ThreadInterrupts:
    """Raises exceptions in other threads, by the interpreter's own means: at the next line of
    Python that the thread runs. What waits inside a system call is not woken up.
    """

    every = True

    def __init__(self) -> None:
        # Windows are opened and closed by their threads, and used by others: under the lock.
        self._lock = threading.Lock()
        self._window_by_key: dict[int, _Window] = {}
        self._own = threading.local()

    def begin(self, request: Request) -> None:
        """Exceptions may be raised in this thread from now on."""
        window = _Window(request.key)
        self._own.window = window
        with self._lock:
            self._window_by_key[window.key] = window

    def end(self) -> None:
        """No exception is raised in this thread any more."""
        window: _Window | None = self._own.window
        if window is None:
            return
        with self._lock:
            self._window_by_key.pop(window.key, None)
        self._own.window = None
        if window.is_struck:
            _exhaust(window.thread)

    def divert(self, receiver: Receiver | None) -> None:
        """Let ``receiver`` see to what comes."""
        window: _Window | None = self._own.window
        if window is not None:
            with self._lock:
                window.receiver = receiver

    def interrupt(self, key: int, error: type[BaseException]) -> bool:
        """Raise ``error`` in the request's thread; returns whether user code of it runs."""
        with self._lock:
            window = self._window_by_key.get(key)
            if window is None:
                return False
            if window.receiver is not None:
                window.receiver(error())
            else:
                window.is_struck = True
                _raise_in(window.thread, error)
            return True


class _Blank(BaseException):
    """Raised to be caught."""


def _exhaust(own_thread: int) -> None:
    """See that nothing is on its way to this thread any more: it must not hit the next task.

    What is pending is replaced by something else, which is then caught. Only taking it back
    would leave the interpreter looking for it before every line of every thread from then on,
    and Python 3.11 would not get ahead at all where a profiler or a debugger looks on.
    """
    try:
        _raise_in(own_thread, _Blank)
        for _ in range(100):
            pass
    except _Blank:
        return


def _raise_in(thread: int, error: type[BaseException]) -> None:
    # Takes long to import, and few pools ever interrupt a thread.
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class TimerInterrupts:
    """Raises exceptions in the main thread by a timer of the process, which is SIGALRM; so user
    code must leave that one alone. System calls that wait are interrupted.
    """

    def __init__(self) -> None:
        self._request: Request | None = None
        self._receiver: Receiver | None = None
        # What is to come for the request that runs, and when; the earliest first.
        self._due: list[tuple[float, _Call]] = []
        self._former: Any = None
        self._is_open = False
        self.overrun: int | None = None
        """The key of the request that has last run for its hard limit."""
        self.struck: int | None = None
        """The key of the request that was told to end because the worker does."""

    @property
    def every(self) -> bool:
        """Whether anything can be raised at all: then what has no limits may be struck."""
        return self._is_open

    def open(self) -> None:
        """Take the timer, where there is one and this is the main thread."""
        if hasattr(signal, "setitimer") and (threading.current_thread() is threading.main_thread()):
            self._former = signal.signal(signal.SIGALRM, self._ring)
            self._is_open = True

    def close(self) -> None:
        """Give the timer back."""
        if self._is_open:
            signal.signal(signal.SIGALRM, self._former or signal.SIG_DFL)
            self._is_open = False

    def begin(self, request: Request) -> None:
        """The limits of ``request`` count from here."""
        if self._is_open:
            self._request = request
        if not is_limited(request):
            return
        if not self._is_open:
            logger.warning(
                "Task %s[%s] has a time limit, which has no effect: the solo pool needs the main "
                "thread of its process, and a system with timers, for that.",
                request.task,
                request.id,
            )
            return
        hard, soft = request.time_limit, request.soft_time_limit
        if soft is not None and (hard is None or soft < hard):
            self._plan(soft, "soft")
        if hard is not None:
            self._plan(hard, "hard")

    def end(self) -> None:
        """Nothing is raised any more."""
        self._request = None
        if self._due:
            self._due = []
            signal.setitimer(signal.ITIMER_REAL, 0)

    def divert(self, receiver: Receiver | None) -> None:
        """Let ``receiver`` see to what comes."""
        self._receiver = receiver

    def strike(self, after: float) -> None:
        """End what runs, if anything does, in ``after`` seconds. In the main thread only, where
        it may raise ``TaskCancelled`` itself."""
        if self._request is None:
            return
        if after > 0:
            self._plan(after, "end")
        else:
            self._call(self._request, "end")

    def _plan(self, after: float, call: _Call) -> None:
        self._due.append((_CLOCK.monotonic() + after, call))
        self._due.sort()
        self._arm()

    def _arm(self) -> None:
        if self._due:
            left = self._due[0][0] - _CLOCK.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        request = self._request
        if request is None or not self._due:
            return
        _, call = self._due.pop(0)
        self._arm()
        self._call(request, call)

    def _call(self, request: Request, call: _Call) -> None:
        error: BaseException
        if call == "soft":
            say_soft(request)
            error = SoftTimeLimitExceeded()
        elif call == "hard":
            self.overrun = request.key
            error = TaskCancelled("time limit")
        else:
            self.struck = request.key
            error = TaskCancelled("shutdown")
        if self._receiver is None:
            raise error
        self._receiver(error)
