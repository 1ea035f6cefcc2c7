"""Functions that are called later, by a thread.

Source:
    Celery internals reference, ``celery.utils.timer2``: names and behaviour. Moments are on the
    monotonic clock, in seconds.
"""

from __future__ import annotations

import heapq
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import count
from typing import Any, NamedTuple, Self

__all__ = ["Entry", "Schedule", "Timer", "to_timestamp"]

logger = logging.getLogger(__name__)

_MAX_INTERVAL = 2.0
_EPOCH = datetime.fromtimestamp(0, UTC)


def to_timestamp(
    d: Any, default_timezone: tzinfo = UTC, time: Callable[[], float] = time.monotonic
) -> Any:
    """A datetime as a moment on the monotonic clock; anything else is what it is."""
    if not isinstance(d, datetime):
        return d
    aware = d if d.tzinfo is not None else d.replace(tzinfo=default_timezone)
    ahead = datetime.now(UTC) - aware
    return max(time() - ahead.total_seconds(), 0)


class Entry:
    """A call to be made."""

    def __init__(
        self,
        fun: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.fun = fun
        self.args = args or []
        self.kwargs = kwargs or {}
        self.canceled = False

    def __call__(self) -> Any:
        """Make the call."""
        return self.fun(*self.args, **self.kwargs)

    def cancel(self) -> None:
        """Have it not made."""
        self.canceled = True

    @property
    def cancelled(self) -> bool:
        """Whether it is not to be made."""
        return self.canceled

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        self.canceled = value

    def __repr__(self) -> str:
        name = getattr(self.fun, "__name__", repr(self.fun))
        return f"<TimerEntry: {name}(*{self.args!r}, **{self.kwargs!r})"


# Classes below have attributes of these names.
_Entry = Entry


class scheduled(NamedTuple):  # noqa: N801 - Celery's name
    """A place in the order of a schedule."""

    eta: float
    priority: int
    entry: _Entry


class Schedule:
    """Calls in the order of their moments.

    Iterating gives pairs: seconds to wait and no entry, or an entry that is due and no seconds; or
    neither where there is nothing.
    """

    Entry = Entry
    on_error: Callable[[Exception], Any] | None = None

    def __init__(
        self,
        max_interval: float | None = None,
        on_error: Callable[[Exception], Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        self.max_interval = float(max_interval or _MAX_INTERVAL)
        self.on_error = on_error or self.on_error
        # The number tells calls of the same moment apart, in the order they came in.
        self._queue: list[tuple[float, int, int, _Entry]] = []
        self._number = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def call_at(
        self,
        eta: Any,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> _Entry:
        """Have a call made at a moment, or datetime."""
        return self.enter_at(self.Entry(fun, args, kwargs), eta, priority)

    def call_after(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> _Entry:
        """Have a call made after so many seconds."""
        return self.enter_after(secs, self.Entry(fun, args, kwargs), priority)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> _Entry:
        """Have a call made every so many seconds, until the entry is cancelled."""
        entry = self.Entry(fun, args, kwargs)

        def again(*args: Any, **kwargs: Any) -> Any:
            called = time.monotonic()
            try:
                return fun(*args, **kwargs)
            finally:
                if not entry.canceled:
                    self.enter_after(secs - (time.monotonic() - called), entry, priority)

        entry.fun = again
        again.__name__ = getattr(fun, "__name__", "again")
        return self.enter_after(secs, entry, priority)

    def enter_at(self, entry: _Entry, eta: Any = None, priority: int = 0) -> _Entry:
        """Have an entry called at a moment, or datetime; None: now."""
        moment = time.monotonic() if eta is None else to_timestamp(eta)
        heapq.heappush(self._queue, (moment, priority, next(self._number), entry))
        return entry

    def enter_after(self, secs: float, entry: _Entry, priority: int = 0) -> _Entry:
        """Have an entry called after so many seconds."""
        return self.enter_at(entry, time.monotonic() + float(secs), priority)

    def apply_entry(self, entry: _Entry) -> None:
        """Make a call; what it raises goes to ``on_error``, else to the log."""
        try:
            entry()
        except Exception as error:
            if not self.handle_error(error):
                logger.exception("Error in timer: %r", error)  # noqa: TRY401 - Celery's line

    def handle_error(self, exc_info: Exception) -> bool:
        """Whether ``on_error`` has been told."""
        if self.on_error is None:
            return False
        self.on_error(exc_info)
        return True

    def __iter__(self) -> Iterator[tuple[float | None, _Entry | None]]:
        while True:
            if not self._queue:
                yield None, None
                continue
            remaining = self._queue[0][0] - time.monotonic()
            if remaining > 0:
                yield min(remaining, self.max_interval), None
                continue
            *_, entry = heapq.heappop(self._queue)
            if not entry.canceled:
                yield None, entry

    def stop(self) -> None:
        """Nothing: who iterates stops."""

    def clear(self) -> None:
        """Forget all calls."""
        self._queue.clear()

    def cancel(self, tref: _Entry) -> None:
        """Have a call not made."""
        tref.cancel()

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        return True

    @property
    def queue(self) -> list[scheduled]:
        """All calls, in order."""
        return [scheduled(eta, priority, entry) for eta, priority, _, entry in sorted(self._queue)]

    @property
    def schedule(self) -> Self:
        """Itself: a timer has one too."""
        return self


_Schedule = Schedule


class Timer(threading.Thread):
    """A thread that makes the calls of a schedule; it starts with the first one.

    Args:
        on_tick: Called with the seconds before each wait.
        on_start: Called with this before the thread starts.
    """

    Entry = Entry
    Schedule = Schedule

    on_tick: Callable[[float], Any] | None = None
    _numbers = count(1)

    def __init__(
        self,
        schedule: _Schedule | None = None,
        on_error: Callable[[Exception], Any] | None = None,
        on_tick: Callable[[float], Any] | None = None,
        on_start: Callable[[Timer], Any] | None = None,
        max_interval: float | None = None,
        **_kwargs: Any,
    ) -> None:
        super().__init__(name=f"Timer-{next(self._numbers)}", daemon=True)
        self.schedule = (
            self.Schedule(max_interval=max_interval, on_error=on_error)
            if schedule is None
            else schedule
        )
        self.on_start = on_start
        self.on_tick = on_tick or self.on_tick
        self.running = False
        self.mutex = threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
        self._ends = False

    def run(self) -> None:
        """Make the calls that are due, until the end."""
        self.running = True
        upcoming = iter(self.schedule)
        while not self._ends:
            with self.not_empty:
                delay, entry = next(upcoming)
                if entry is None and not self._ends:
                    if delay and self.on_tick:
                        self.on_tick(delay)
                    # A call that is entered meanwhile may come first.
                    self.not_empty.wait(delay)
            if entry is not None:
                self.schedule.apply_entry(entry)
        self.running = False

    def stop(self) -> None:
        """End, and wait for the call that is being made."""
        with self.not_empty:
            self._ends = True
            self.not_empty.notify()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(threading.TIMEOUT_MAX)

    def ensure_started(self) -> None:
        """Start, unless it has been."""
        if not self.running and not self.is_alive():
            if self.on_start:
                self.on_start(self)
            self.start()

    def _do_enter(self, meth: str, *args: Any, **kwargs: Any) -> _Entry:
        self.ensure_started()
        with self.not_empty:
            entry: _Entry = getattr(self.schedule, meth)(*args, **kwargs)
            self.not_empty.notify()
        return entry

    def enter(self, entry: _Entry, eta: Any, priority: int | None = None) -> _Entry:
        """As :meth:`Schedule.enter_at`."""
        return self._do_enter("enter_at", entry, eta, priority=priority or 0)

    def enter_after(self, *args: Any, **kwargs: Any) -> _Entry:
        """As :meth:`Schedule.enter_after`."""
        return self._do_enter("enter_after", *args, **kwargs)

    def call_at(self, *args: Any, **kwargs: Any) -> _Entry:
        """As :meth:`Schedule.call_at`."""
        return self._do_enter("call_at", *args, **kwargs)

    def call_after(self, *args: Any, **kwargs: Any) -> _Entry:
        """As :meth:`Schedule.call_after`."""
        return self._do_enter("call_after", *args, **kwargs)

    def call_repeatedly(self, *args: Any, **kwargs: Any) -> _Entry:
        """As :meth:`Schedule.call_repeatedly`."""
        return self._do_enter("call_repeatedly", *args, **kwargs)

    def exit_after(self, secs: float, priority: int = 10) -> None:
        """Raise SystemExit in the timer after so many seconds."""
        self.call_after(secs, sys.exit, priority=priority)

    def cancel(self, tref: _Entry) -> None:
        """Have a call not made."""
        tref.cancel()

    def clear(self) -> None:
        """Forget all calls."""
        self.schedule.clear()

    def empty(self) -> bool:
        """Whether there is no call to be made."""
        return not len(self)

    def __len__(self) -> int:
        return len(self.schedule)

    def __bool__(self) -> bool:
        return True

    @property
    def queue(self) -> list[scheduled]:
        """All calls, in order."""
        return self.schedule.queue
