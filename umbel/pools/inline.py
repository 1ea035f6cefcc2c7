"""The solo pool: one request after another, on the worker's own thread."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence

from umbel.clock import SystemClock
from umbel.model import Outcome, Request, Revoked
from umbel.pools.coroutines import within_limits
from umbel.pools.grace import within
from umbel.pools.interrupts import TimerInterrupts
from umbel.pools.limits import is_limited
from umbel.pools.outbox import Outbox
from umbel.pools.pace import Pace
from umbel.pools.verdicts import broken, cancelled, overdue
from umbel.protocols import Runner, Running

__all__ = ["InlinePool"]

_CLOCK = SystemClock()
_TURN = 0.005
"""Seconds of short tasks after which the loop gets a turn."""
_LONG = 0.05
"""Seconds after which the loop's I/O has waited long enough to be given real time."""
_BREATH = 0.001
"""Seconds of real time: enough for a round trip to a broker nearby."""
_PATIENCE = 1.0
"""Seconds a cancelled coroutine has to end."""


class InlinePool:
    """Runs requests where the worker runs, so a task that blocks holds everything else up.

    Between tasks the loop gets its turn: leases are renewed then, and meanwhile
    by the worker's deputy.

    Time limits are exceptions raised inside the task: in a function by a timer of the process,
    which only the main thread has. A task that catches ``TaskCancelled`` too cannot be ended.
    """

    def __init__(self, make_runner: Callable[[], Runner]) -> None:
        self._make_runner = make_runner
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self._since = 0.0
        self._run: asyncio.Task[Outcome] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unfinished: list[Request] = []
        self._stopping = False
        self._held = False
        # What a signal of the OS has ended; whoever stops the worker says what becomes of it.
        self._struck: Outcome | None = None
        self._pace = Pace()
        self._outbox = Outbox()
        self._interrupts = TimerInterrupts()

    @property
    def size(self) -> int:
        """One: the worker's thread."""
        return 1

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        if self._stopping or self._held:
            return 0
        held = len(self._waiting) + (self._running is not None)
        return max(0, self._pace.ahead - held)

    def prepare(self) -> None:
        """Nothing to fork."""

    async def start(self) -> None:
        """Open the runner."""
        runner = self._make_runner()
        self._interrupts.open()
        runner.open(self._interrupts)
        # Not in a task group: start and stop are two calls. stop awaits it.
        self._pump = asyncio.create_task(self._serve(runner), name="umbel-inline-pool")

    async def submit(self, requests: Sequence[Request]) -> None:
        """Run the requests, in order, from the loop's next turn on."""
        self._waiting.extend(requests)
        self._idle.clear()
        self._work.set()

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has.

        Empty after ``stop``, once everything was handed out.
        """
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What has been started and not finished."""
        running = self._running
        return [] if running is None else [Running(running.key, self._since, os.getpid())]

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started: those of ``keys``, or all."""
        wanted = None if keys is None else set(keys)
        taken = [each for each in self._waiting if wanted is None or each.key in wanted]
        self._waiting = deque(each for each in self._waiting if each not in taken)
        return taken

    def watch(self, changed: Callable[[], None]) -> None:
        """Nothing to tell: room comes with outcomes only."""

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that have not started; with any ``signal``, cancel a coroutine that runs.

        While a function runs, nobody can ask.
        """
        wanted = set(keys)
        dropped = [request for request in self._waiting if request.key in wanted]
        for request in dropped:
            self._waiting.remove(request)
        self._outbox.put([cancelled(request) for request in dropped])
        running = self._running
        if (
            signal is not None
            and running is not None
            and running.key in wanted
            and self._run is not None
        ):
            self._run.cancel()
        if running is not None and running.key in wanted:
            self._hand_out_struck()

    def hold(self) -> None:
        """Start nothing more."""
        self._held = True

    def strike(self, after: float) -> None:
        """End the function that runs in ``after`` seconds; coroutines do not hold up the loop."""
        self._held = True
        self._interrupts.strike(after)

    async def resize(self, size: int) -> None:
        """Impossible: there is one thread.

        Raises:
            ValueError: ``size`` is not 1.
        """
        if size != 1:
            raise ValueError(f"the solo pool runs one task at a time; asked for {size}")

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Nothing to do: there are no processes."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Start nothing more; wait ``grace`` seconds for the coroutine that runs.

        May be cancelled and called again, with less grace.
        """
        self._stopping = True
        self._unfinished += self._waiting
        self._waiting.clear()
        self._work.set()
        try:
            async with within(grace):
                await self._idle.wait()
        except TimeoutError:
            self._abandon()
        if self._pump is not None:
            # A coroutine that will not be cancelled must not keep the worker from ending.
            await asyncio.wait((self._pump,), timeout=_PATIENCE)
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    def _abandon(self) -> None:
        run = self._run
        if self._hand_out_struck():
            return
        running = self._release()
        if running is not None and run is not None:
            self._unfinished.append(running)
            run.cancel()

    def _hand_out_struck(self) -> bool:
        struck, self._struck = self._struck, None
        if struck is None:
            return False
        self._release()
        self._outbox.put([struck])
        self._idle.set()
        return True

    def _release(self) -> Request | None:
        """The running request, once: None when stop has given it back meanwhile."""
        running, self._running = self._running, None
        return running

    async def _serve(self, runner: Runner) -> None:
        while not self._stopping:
            await self._work.wait()
            self._work.clear()
            while self._waiting and not self._held:
                started = _CLOCK.monotonic()
                count = await self._turn(runner, started)
                took = _CLOCK.monotonic() - started
                self._pace.observe(took, count)
                await _CLOCK.sleep(_BREATH if took > _LONG else 0)
            if self._struck is None:
                self._idle.set()
        runner.close()
        self._interrupts.close()

    async def _turn(self, runner: Runner, started: float) -> int:
        """Run waiting requests until it is the loop's turn again; returns how many."""
        done: list[Outcome] = []
        count = 0
        while (
            self._waiting and not self._held and (not count or _CLOCK.monotonic() - started < _TURN)
        ):
            count += 1
            request = self._running = self._waiting.popleft()
            outcome = await self._one(runner, request)
            if isinstance(outcome, Revoked) and self._interrupts.struck == request.key:
                self._struck = outcome
            elif self._release() is not None:
                done.append(outcome)
        self._outbox.put(done)
        return count

    async def _one(self, runner: Runner, request: Request) -> Outcome:
        started = self._since = _CLOCK.monotonic()
        try:
            if not runner.is_async(request):
                outcome = _apart(runner, request)
                if isinstance(outcome, Revoked) and self._interrupts.overrun == request.key:
                    return overdue(request, runtime=_CLOCK.monotonic() - started)
                return outcome
            # A task of its own, so that cancelling it does not cancel the pool.
            self._run = asyncio.create_task(self._guarded(runner, request))
            return await self._run
        except asyncio.CancelledError:
            pump = asyncio.current_task()
            if pump is not None and pump.cancelling():
                raise
            runtime = _CLOCK.monotonic() - started
            if self._interrupts.overrun == request.key:
                return overdue(request, runtime=runtime)
            return cancelled(request, runtime=runtime)
        except BaseException as error:  # noqa: BLE001 - the pool outlives a runner's bug, whatever it raises
            return broken(request, error)
        finally:
            self._run = None

    async def _guarded(self, runner: Runner, request: Request) -> Outcome:
        run = runner.arun(request)
        if is_limited(request):
            run = within_limits(run, request, self._overrun)
        # SystemExit and KeyboardInterrupt out of a task would end the loop.
        try:
            return await run
        except (SystemExit, KeyboardInterrupt) as error:
            return broken(request, error)

    def _overrun(self, request: Request) -> None:
        self._interrupts.overrun = request.key
        if self._run is not None:
            self._run.cancel()


def _apart(runner: Runner, request: Request) -> Outcome:
    """Run a function as if no loop ran in this thread.

    What refuses to block a loop would refuse to work otherwise: ``asyncio.run``, Django's models.

    Source:
        Python's library reference, "Extending asyncio": what ``Task`` and loops call themselves.
    """
    loop, pump = asyncio.get_running_loop(), asyncio.current_task()
    assert pump is not None, "the pump is a task"
    asyncio.tasks._leave_task(loop, pump)  # noqa: SLF001
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        return runner.run(request)
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001
        asyncio.tasks._enter_task(loop, pump)  # noqa: SLF001
