"""``worker.hub``: has functions called when files are ready, and later, on an event loop.

Source:
    Celery user guide, Extensions and Bootsteps, "Event Loop"; kombu reference,
    ``kombu.asynchronous.Hub``: names, arguments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from umbel.clock import SystemClock
from umbel.worker.steps.timer import Entry, LoopTimer

__all__ = ["Hub"]

logger = logging.getLogger(__name__)


class Hub:
    """An event loop under kombu's names: a worker's, whose hub is ``worker.hub``; or one of its
    own, that runs in :meth:`run_forever`.

    What it calls must not block it, and may raise: that is logged.
    """

    READ: ClassVar[int] = 0x001
    WRITE: ClassVar[int] = 0x004
    ERR: ClassVar[int] = 0x018

    def __init__(
        self, timer: LoopTimer | None = None, *, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """A hub of a loop.

        Args:
            timer: What calls later, on the same loop.
            loop: Default: a new one.
        """
        self.loop = loop or asyncio.new_event_loop()
        self.timer = timer or LoopTimer(self.loop, SystemClock())
        self._is_own = loop is None
        self._reading: set[int] = set()
        self._writing: set[int] = set()

    def __repr__(self) -> str:
        return f"<Hub: R:{len(self._reading)} W:{len(self._writing)}>"

    def add(
        self, fd: Any, callback: Callable[..., Any], flags: int, args: Iterable[Any] = ()
    ) -> None:
        """Call ``callback`` whenever files are ready.

        Args:
            fd: A file, its number, or several of either.
            flags: ``READ``, ``WRITE`` or both.
        """
        if flags & (self.READ | self.ERR):
            self.add_reader(fd, callback, *args)
        if flags & self.WRITE:
            self.add_writer(fd, callback, *args)

    def add_reader(self, fds: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Call ``callback`` whenever files can be read, until they are removed."""
        for fd in _numbers(fds):
            self._reading.add(fd)
            self.loop.add_reader(fd, self._call, callback, *args)

    def add_writer(self, fds: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Call ``callback`` whenever files can be written, until they are removed."""
        for fd in _numbers(fds):
            self._writing.add(fd)
            self.loop.add_writer(fd, self._call, callback, *args)

    def remove_reader(self, fd: Any) -> None:
        """Do not look any more whether a file can be read."""
        for each in _numbers(fd):
            if each in self._reading:
                self._reading.discard(each)
                self.loop.remove_reader(each)

    def remove_writer(self, fd: Any) -> None:
        """Do not look any more whether a file can be written."""
        for each in _numbers(fd):
            if each in self._writing:
                self._writing.discard(each)
                self.loop.remove_writer(each)

    def remove(self, fd: Any) -> None:
        """Do not look at a file any more."""
        self.remove_reader(fd)
        self.remove_writer(fd)

    def clear(self) -> None:
        """Look at no file any more."""
        self.remove(list(self._reading | self._writing))

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call it after what is under way; from any thread."""
        self.loop.call_soon_threadsafe(self._call, callback, *args)
        return callback

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Entry:
        """Call it once, after so many seconds."""
        return self.timer.call_after(delay, callback, args)

    def call_at(self, when: Any, callback: Callable[..., Any], *args: Any) -> Entry:
        """Call it once, at a moment: a datetime, or Unix seconds."""
        return self.timer.call_at(when, callback, args)

    def call_repeatedly(self, delay: float, callback: Callable[..., Any], *args: Any) -> Entry:
        """Call it every so many seconds, until what this returns is cancelled."""
        return self.timer.call_repeatedly(delay, callback, args)

    def run_forever(self) -> None:
        """Run, in this thread, until :meth:`stop`."""
        self.loop.run_forever()

    def run_once(self) -> None:
        """Do what can be done now."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def stop(self) -> None:
        """End :meth:`run_forever`; a worker's loop ends with the worker only."""
        if self._is_own:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def close(self, *_: Any) -> None:
        """Forget everything."""
        self.clear()
        self.timer.clear()
        if self._is_own:
            self.loop.close()

    def _call(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except Exception:
            # User code; the worker goes on.
            logger.exception("Error in the hub: %r", callback)


def _numbers(fds: Any) -> list[int]:
    files: list[Any] = (
        list(cast("Iterable[Any]", fds))
        if isinstance(fds, list | tuple | set | frozenset)
        else [fds]
    )
    return [each if isinstance(each, int) else each.fileno() for each in files]
