"""Threads that run requests."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue

from umbel.clock import SystemClock
from umbel.exceptions import SoftTimeLimitExceeded, TaskCancelled
from umbel.model import Outcome, Request
from umbel.pools.interrupts import ThreadInterrupts
from umbel.pools.limits import is_limited, say_soft
from umbel.pools.outbox import Outbox
from umbel.pools.pace import Pace
from umbel.pools.verdicts import broken, cancelled, overdue
from umbel.protocols import Runner, Running

__all__ = ["Crew"]

_CLOCK = SystemClock()
_LOOK = 0.025
"""Seconds between two looks at time limits; only while something has any."""


class Crew:
    """Threads that run requests from one queue, and hand their outcomes to an event loop.

    Threads are started as they are needed. They are daemons: one that never ends does not
    keep the process. A thread whose task runs for its hard time limit is no longer counted: it
    is asked to end, and another takes its place at once.
    """

    def __init__(
        self,
        runner: Runner,
        size: int,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        interrupts: ThreadInterrupts,
    ) -> None:
        self.size = size
        self.pace = Pace()
        self._run = runner.run
        self._outbox = outbox
        self._loop = loop
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._held: dict[int, Request] = {}
        self._threads = 0
        self._started = 0
        self._empty = asyncio.Event()
        self._empty.set()
        # Written by the threads, emptied on the loop: outcomes and what each took.
        self._done: deque[tuple[Outcome, float]] = deque()
        # True while a call of _collect is on its way to the loop. A thread that reads it true
        # has added its outcome before; the loop makes it false before it looks.
        self._called = False
        # Filled on the loop. Whoever pops a request decides about it: a thread runs it, the
        # loop cancels it or gives it back. What is queued and not in here is skipped.
        self._unstarted: dict[int, Request] = {}
        # Written by the threads, read and emptied on the loop.
        self._since: dict[int, float] = {}
        self._interrupts = interrupts
        # What has time limits and no outcome, and which of it knows of its soft one. On the loop.
        self._limited: dict[int, Request] = {}
        self._told: set[int] = set()
        # When what has limits was started. Put in by its thread; whoever takes it out decides:
        # the thread that its task has ended in time, the loop that it has not.
        self._started_at: dict[int, float] = {}
        self._look_later: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """How many requests wait or run."""
        return len(self._held)

    def add(self, requests: Sequence[Request]) -> None:
        """Queue the requests."""
        self._empty.clear()
        for request in requests:
            self._held[request.key] = self._unstarted[request.key] = request
            if is_limited(request):
                self._limited[request.key] = request
            self._queue.put(request)
        self._grow()
        if self._limited and self._look_later is None:
            self._look_later = self._loop.call_later(_LOOK, self._look)

    def cancel(self, keys: Sequence[int], *, running: bool) -> None:
        """See that requests which have not started never do.

        Args:
            running: Whether to end those that have, too.
        """
        dropped = [self._unstarted.pop(key, None) for key in keys]
        outcomes = [cancelled(request) for request in dropped if request is not None]
        for outcome in outcomes:
            self._forget(outcome.key)
        self._outbox.put(outcomes)
        self._note_emptiness()
        if running:
            for key in keys:
                if key in self._held:
                    self._interrupts.interrupt(key, TaskCancelled)

    def resize(self, size: int) -> None:
        """Grow, or let threads go as soon as they have nothing to do."""
        self.size = size
        while self._threads > size:
            self._dismiss()
        self._grow()

    def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started: those of ``keys``, or all."""
        requests = [
            request
            for key in (list(self._unstarted) if keys is None else keys)
            if (request := self._unstarted.pop(key, None)) is not None
        ]
        for request in requests:
            self._forget(request.key)
        self._note_emptiness()
        return requests

    def running(self) -> list[Running]:
        """What threads have started and not finished."""
        pid = os.getpid()
        # A copy, made in one step: threads add to it.
        since = dict(self._since)
        return [Running(key, since[key], pid) for key in self._held if key in since]

    def abandon(self) -> list[Request]:
        """Give up what runs: its outcomes, if there ever are any, are dropped."""
        # Outcomes that are already here still count.
        self._collect()
        requests = list(self._held.values())
        self._held.clear()
        self._limited.clear()
        self._note_emptiness()
        return requests

    async def finished(self) -> None:
        """Wait until nothing runs."""
        await self._empty.wait()

    def end(self) -> None:
        """Let the threads go."""
        while self._threads:
            self._dismiss()
        if self._look_later is not None:
            self._look_later.cancel()
            self._look_later = None

    def _grow(self) -> None:
        while self._threads < min(self.size, len(self._held)):
            self._threads += 1
            self._started += 1
            name = f"ThreadPoolWorker-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _dismiss(self) -> None:
        self._threads -= 1
        self._queue.put(None)

    def _work(self) -> None:
        """What a thread does."""
        run = self._run
        get = self._queue.get
        done = self._done
        claim = self._unstarted.pop
        started_at = self._started_at
        since = self._since
        monotonic = _CLOCK.monotonic
        outcome: Outcome
        while (request := get()) is not None:
            if claim(request.key, None) is not request:
                continue
            limited = is_limited(request)
            started = since[request.key] = monotonic()
            if limited:
                started_at[request.key] = started
            try:
                outcome = run(request)
            except BaseException as error:  # noqa: BLE001 - a runner's bug costs a task, not the thread
                outcome = broken(request, error)
            if limited and started_at.pop(request.key, None) is None:
                # Too late: the outcome is known, and another thread has this one's place.
                since.pop(request.key, None)
                return
            done.append((outcome, monotonic() - started))
            if not self._called:
                self._called = True
                try:
                    # The one way into a loop from another thread; once per batch.
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:
                    # The loop is closed: the pool was stopped and gave the request back.
                    return

    def _collect(self) -> None:
        """Hand on what the threads have finished. On the loop."""
        self._called = False
        outcomes: list[Outcome] = []
        busy = 0.0
        count = 0
        while self._done:
            outcome, took = self._done.popleft()
            busy += took
            count += 1
            self._since.pop(outcome.key, None)
            # Not held: abandoned.
            if self._held.pop(outcome.key, None) is not None:
                outcomes.append(outcome)
                if self._limited:
                    self._forget(outcome.key)
        if count:
            self.pace.observe(busy, count)
        if outcomes:
            self._outbox.put(outcomes)
            self._note_emptiness()

    def _look(self) -> None:
        """See whose time is over. On the loop."""
        self._look_later = None
        now = _CLOCK.monotonic()
        for key, request in list(self._limited.items()):
            started = self._started_at.get(key)
            if started is None:
                continue
            hard, soft = request.time_limit, request.soft_time_limit
            if hard is not None and now - started >= hard:
                self._replace(request, now - started)
            elif (
                soft is not None
                and now - started >= soft
                and key not in self._told
                # False: not yet in user code, or no longer; then once more.
                and self._interrupts.interrupt(key, SoftTimeLimitExceeded)
            ):
                self._told.add(key)
                say_soft(request)
        if self._limited:
            self._look_later = self._loop.call_later(_LOOK, self._look)

    def _replace(self, request: Request, runtime: float) -> None:
        if self._started_at.pop(request.key, None) is None:
            # It has ended this very moment.
            return
        self._interrupts.interrupt(request.key, TaskCancelled)
        self._forget(request.key)
        self._outbox.put([overdue(request, runtime=runtime)])
        self._threads -= 1
        self._grow()
        self._note_emptiness()

    def _forget(self, key: int) -> None:
        self._held.pop(key, None)
        self._limited.pop(key, None)
        self._told.discard(key)

    def _note_emptiness(self) -> None:
        if not self._held:
            self._empty.set()
