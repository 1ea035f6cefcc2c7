"""The thread pool."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.grace import within
from umbel.pools.outbox import Outbox
from umbel.pools.pace import Pace
from umbel.pools.verdicts import broken, cancelled
from umbel.protocols import Runner, Running

__all__ = ["Crew", "ThreadPool"]

_CLOCK = SystemClock()


class Crew:
    """Threads that run requests from one queue, and hand their outcomes to an event loop.

    Threads are started as they are needed. They are daemons: one that never ends does not
    keep the process.
    """

    def __init__(
        self, runner: Runner, size: int, outbox: Outbox, loop: asyncio.AbstractEventLoop
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

    @property
    def held(self) -> int:
        """How many requests wait or run."""
        return len(self._held)

    def add(self, requests: Sequence[Request]) -> None:
        """Queue the requests."""
        self._empty.clear()
        for request in requests:
            self._held[request.key] = self._unstarted[request.key] = request
            self._queue.put(request)
        self._grow()

    def cancel(self, keys: Sequence[int]) -> None:
        """See that requests which have not started never do."""
        dropped = [self._unstarted.pop(key, None) for key in keys]
        outcomes = [cancelled(request) for request in dropped if request is not None]
        for outcome in outcomes:
            del self._held[outcome.key]
        self._outbox.put(outcomes)
        self._note_emptiness()

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
            del self._held[request.key]
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
        self._note_emptiness()
        return requests

    async def finished(self) -> None:
        """Wait until nothing runs."""
        await self._empty.wait()

    def end(self) -> None:
        """Let the threads go."""
        while self._threads:
            self._dismiss()

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
        monotonic = _CLOCK.monotonic
        outcome: Outcome
        while (request := get()) is not None:
            if claim(request.key, None) is not request:
                continue
            started = self._since[request.key] = monotonic()
            try:
                outcome = run(request)
            except BaseException as error:  # noqa: BLE001 - a runner's bug costs a task, not the thread
                outcome = broken(request, error)
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
            del self._since[outcome.key]
            # Not held: abandoned.
            if self._held.pop(outcome.key, None) is not None:
                outcomes.append(outcome)
        if count:
            self.pace.observe(busy, count)
        if outcomes:
            self._outbox.put(outcomes)
            self._note_emptiness()

    def _note_emptiness(self) -> None:
        if not self._held:
            self._empty.set()


class ThreadPool:
    """Runs requests in threads of the worker's process."""

    def __init__(self, make_runner: Callable[[], Runner], size: int) -> None:
        self._make_runner = make_runner
        self._size = size
        self._outbox = Outbox()
        self._runner: Runner | None = None
        self._crew: Crew | None = None
        self._stopping = False
        self._unfinished: list[Request] = []

    @property
    def size(self) -> int:
        """How many threads run requests."""
        return self._size

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        crew = self._crew
        if crew is None or self._stopping:
            return 0
        return max(0, crew.size * crew.pace.ahead - crew.held)

    def prepare(self) -> None:
        """Nothing to fork."""

    async def start(self) -> None:
        """Open the runner; threads are started as requests come."""
        runner = self._runner = self._make_runner()
        runner.open()
        self._crew = Crew(runner, self._size, self._outbox, asyncio.get_running_loop())

    async def submit(self, requests: Sequence[Request]) -> None:
        """Queue the requests for the next free threads."""
        assert self._crew is not None, "start() comes first"
        self._crew.add(requests)

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What threads have started and not finished."""
        return [] if self._crew is None else self._crew.running()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started: those of ``keys``, or all."""
        return [] if self._crew is None else self._crew.withdraw(keys)

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that have not started; a running thread cannot be stopped.

        ``signal`` makes no difference: the process is the worker's own.
        """
        if self._crew is not None:
            self._crew.cancel(keys)

    async def resize(self, size: int) -> None:
        """Grow or shrink; a busy thread goes when its task is done."""
        self._size = size
        if self._crew is not None:
            self._crew.resize(size)

    async def stop(self, *, grace: float) -> list[Request]:
        """Wait ``grace`` seconds for what runs; what runs longer is left to itself, unheard.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        if self._crew is None or self._runner is None:
            self._outbox.close()
            return []
        self._unfinished += self._crew.withdraw()
        try:
            async with within(grace):
                await self._crew.finished()
        except TimeoutError:
            self._unfinished += self._crew.abandon()
        self._crew.end()
        self._runner.close()
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished
