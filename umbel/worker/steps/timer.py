"""``consumer.timer``: calls at later times, on the worker's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.protocols import Clock

__all__ = ["Entry", "LoopTimer"]

logger = logging.getLogger(__name__)


class Entry:
    """A call to come."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.fun = function
        self.args: Sequence[Any] = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        self.canceled = False
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> Any:
        """Make it now."""
        return self.fun(*self.args, **self.kwargs)

    @property
    def cancelled(self) -> bool:
        """Whether it will not be made."""
        return self.canceled

    def cancel(self) -> None:
        """Do not call it."""
        self.canceled = True
        if self._handle is not None:
            self._handle.cancel()

    def due(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Any) -> None:
        """Call ``then`` with it after so many seconds."""
        self._handle = loop.call_later(max(0.0, seconds), then, self)


class LoopTimer:
    """Calls functions later. To be used on the worker's loop.

    Source:
        Celery reference, ``celery.utils.timer2.Timer``: names, arguments.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._entries: set[Entry] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def call_after(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        priority: int = 0,
    ) -> Entry:
        """Call once, after so many seconds."""
        return self.enter_after(secs, Entry(fun, args, kwargs), priority)

    def call_at(
        self,
        eta: Any,
        fun: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        priority: int = 0,
    ) -> Entry:
        """Call once, at a moment: a datetime, or Unix seconds."""
        return self.enter_at(Entry(fun, args, kwargs), eta, priority)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        priority: int = 0,
    ) -> Entry:
        """Call every so many seconds, until it is cancelled."""
        entry = Entry(fun, args, kwargs)

        def again(entry: Entry) -> None:
            self._call(entry)
            if not entry.canceled:
                entry.due(self._loop, secs, again)

        self._entries.add(entry)
        entry.due(self._loop, secs, again)
        return entry

    def enter_after(self, secs: float, entry: Entry, priority: int = 0) -> Entry:
        """Make a call of :class:`Entry`, after so many seconds."""
        self._entries.add(entry)
        entry.due(self._loop, secs, self._once)
        return entry

    def enter_at(self, entry: Entry, eta: Any = None, priority: int = 0) -> Entry:
        """Make a call of :class:`Entry`, at a moment; None: soon."""
        now = self._clock.time()
        moment = now if eta is None else getattr(eta, "timestamp", lambda: eta)()
        return self.enter_after(moment - now, entry, priority)

    def cancel(self, tref: Entry) -> None:
        """Do not make a call."""
        tref.cancel()
        self._entries.discard(tref)

    def clear(self) -> None:
        """Make none of them."""
        for entry in list(self._entries):
            self.cancel(entry)

    stop = clear

    def _once(self, entry: Entry) -> None:
        self._entries.discard(entry)
        self._call(entry)

    def _call(self, entry: Entry) -> None:
        if entry.canceled:
            self._entries.discard(entry)
            return
        try:
            entry()
        except Exception:
            # User code; the worker goes on, as does the next call.
            logger.exception("Error in timer: %r", entry.fun)
