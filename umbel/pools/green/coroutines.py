"""``async def`` tasks of a green pool: on an event loop in a thread of the operating system.

There can be one running loop per such thread, whatever greenlets it has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.coroutines import Interruptible
from umbel.pools.green.hubs import Hub
from umbel.pools.verdicts import broken, cancelled
from umbel.protocols import Runner

__all__ = ["CoroutineSide"]

_monotonic = SystemClock().monotonic


class CoroutineSide:
    """Starts the thread with the first coroutine. Its methods are called by greenlets, and call
    ``ended`` in that thread."""

    def __init__(self, hub: Hub, runner: Runner, ended: Callable[[Outcome], None]) -> None:
        self._hub = hub
        self._runner = runner
        self._ended = ended
        self._has_thread = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._new: deque[Request] = deque()
        self._runs: dict[int, Interruptible] = {}
        # asyncio keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: Request) -> None:
        """Run the request beside the others."""
        self._new.append(request)
        if not self._has_thread:
            self._has_thread = True
            self._hub.start_thread(self._serve)
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._start_new)

    def interrupt(self, key: int, error: BaseException | None) -> bool:
        """Throw ``error`` into the request's coroutine, or cancel it; returns whether there is
        one."""
        run = self._runs.get(key)
        if run is None or self._loop is None:
            return False
        if error is None:
            self._loop.call_soon_threadsafe(run.cancel)
        else:
            self._loop.call_soon_threadsafe(run.interrupt, error)
        return True

    def close(self) -> None:
        """End the thread. Nothing runs any more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        """The thread. The loop is made here, since what it waits with belongs to its thread."""
        self._loop = loop = asyncio.new_event_loop()
        # After the line above: what has come since, and found no loop, is there.
        loop.call_soon(self._start_new)
        loop.run_forever()

    def _start_new(self) -> None:
        assert self._loop is not None, "it runs this"
        while self._new:
            request = self._new.popleft()
            run = self._runs[request.key] = Interruptible(self._runner.arun(request))
            task = self._loop.create_task(self._run(request, run))
            run.belong_to(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, request: Request, run: Interruptible) -> None:
        started = _monotonic()
        outcome: Outcome
        try:
            outcome = await run
        except asyncio.CancelledError:
            outcome = cancelled(request, runtime=_monotonic() - started)
        except BaseException as error:  # noqa: BLE001 - the pool outlives a runner's bug, whatever it raises
            outcome = broken(request, error)
        del self._runs[request.key]
        self._ended(outcome)
