"""A pool that a program brings along, as Celery has its pools: ``apply_async`` and callbacks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from signal import Signals
from typing import Any

import msgspec

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.grace import unwatched, within
from umbel.pools.outbox import Outbox
from umbel.pools.verdicts import broken, cancelled, lost, overdue, unencodable
from umbel.protocols import Receiver, Runner, Running

__all__ = ["GuestPool"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
_PATIENCE = 1.0
"""Seconds that a guest has to end when it is told to end now."""

_read_outcome = msgspec.msgpack.Decoder(Outcome).decode
_read_request = msgspec.msgpack.Decoder(Request).decode
_write = msgspec.msgpack.Encoder().encode

_runners: dict[tuple[int, int], Runner] = {}
"""By process, and by what makes them: a forked child begins with its parent's, and leaves them."""


class _Uninterrupted:
    """Time limits and cancelling are the guest's affair."""

    every = False

    def begin(self, request: Request) -> None:
        """Nobody counts."""

    def end(self) -> None:
        """Nothing is on its way."""

    def divert(self, receiver: Receiver | None) -> None:
        """Nothing is sent."""


class _Target:
    """What a guest has called, wherever it does that; can be pickled if ``make_runner`` can."""

    def __init__(self, make_runner: Callable[[], Runner], number: int) -> None:
        self.make_runner = make_runner
        self.number = number

    def __call__(self, name: str, uuid: str, request: bytes) -> bytes:
        """Run a task, here; ``name`` and ``uuid`` are for guests that look at arguments."""
        asked = _read_request(request)
        try:
            outcome = self._runner().run(asked)
        except BaseException as error:  # noqa: BLE001 - a runner's bug costs a task, not the guest
            outcome = broken(asked, error)
        try:
            return _write(outcome)
        except (TypeError, ValueError, OverflowError) as error:
            return _write(unencodable(asked.key, error))

    def _runner(self) -> Runner:
        place = os.getpid(), self.number
        runner = _runners.get(place)
        if runner is None:
            runner = _runners[place] = self.make_runner()
            runner.open(_Uninterrupted())
        return runner


class _Job:
    """A request that the guest has, or is to have."""

    __slots__ = ("accepted", "is_cancelled", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.accepted: Running | None = None
        self.is_cancelled = False


class GuestPool:
    """Runs requests in a guest, ``size`` at a time.

    The guest is started where the worker is, before its loop runs, and called from a thread that
    does nothing else, so it may block. Time limits and cancelling are as good as its own: it is
    told ``timeout`` and ``soft_timeout``, and ``terminate_job``.
    """

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        make_runner_elsewhere: Callable[[], Runner],
        make_guest: Callable[[], Any],
    ) -> None:
        """Be ready to start one.

        Args:
            make_runner: What tasks are run with in this process.
            make_runner_elsewhere: The same in others, where it is sent to.
            make_guest: Called once, when it is started.
        """
        self._make_runner = make_runner
        self._target = _Target(make_runner_elsewhere, id(self))
        self._make_guest = make_guest
        self._guest: Any = None
        self._jobs: dict[int, _Job] = {}
        # Whoever takes a job out decides: the thread gives it to the guest, the loop drops it.
        self._waiting: dict[int, _Job] = {}
        self._outbox = Outbox()
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._unfinished: list[Request] = []
        self._room_changed: Callable[[], None] = unwatched

    @property
    def size(self) -> int:
        """How many the guest runs at once."""
        return int(self._guest.num_processes or self._guest.limit or 1) if self._guest else 1

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        return 0 if self._stopping else max(0, self.size - len(self._jobs))

    @property
    def info(self) -> dict[str, Any]:
        """What the guest says of itself."""
        return dict(self._guest.info or {})

    def prepare(self) -> None:
        """Start the guest: it may fork, and handle signals."""
        if self._guest is None:
            self._guest = self._make_guest()
            self._guest.start()

    async def start(self) -> None:
        """Be ready to run requests."""
        self.prepare()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "umbel-guest")
        place = os.getpid(), self._target.number
        _runners[place] = self._make_runner()
        _runners[place].open(_Uninterrupted())

    async def submit(self, requests: Sequence[Request]) -> None:
        """Hand requests to the guest."""
        self._empty.clear()
        for request in requests:
            job = self._jobs[request.key] = self._waiting[request.key] = _Job(request)
            self._thread.submit(self._apply, job)

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has."""
        return await self._outbox.take()

    def running(self) -> list[Running]:
        """What the guest says it has begun."""
        return [job.accepted for job in self._jobs.values() if job.accepted is not None]

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back what the guest has not been given yet."""
        wanted = list(self._jobs) if keys is None else keys
        dropped = map(self._drop, wanted)
        return [job.request for job in dropped if job is not None]

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the pool has been resized."""
        self._room_changed = changed

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop what the guest has not been given; with a ``signal``, have it end the rest."""
        for key in keys:
            if (dropped := self._drop(key)) is not None:
                self._outbox.put([cancelled(dropped.request)])
                continue
            job = self._jobs.get(key)
            if job is not None and signal is not None and job.accepted is not None:
                job.is_cancelled = True
                await self._end_job(job.accepted.pid, signal)

    async def resize(self, size: int) -> None:
        """Have the guest grow or shrink.

        Raises:
            ValueError: It cannot.
        """
        difference = size - self.size
        method = getattr(self._guest, "grow" if difference > 0 else "shrink", None)
        if not difference:
            return
        if method is None:
            raise ValueError(f"{type(self._guest).__name__} cannot be resized: asked for {size}")
        await self._loop.run_in_executor(self._thread, method, abs(difference))
        if self._guest.num_processes in {None, size - difference}:
            self._guest.limit = size
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Have the guest replace what runs tasks, where it knows how."""
        with suppress(NotImplementedError):
            await self._loop.run_in_executor(self._thread, self._guest.restart)

    async def stop(self, *, grace: float) -> list[Request]:
        """Let what runs finish within ``grace`` seconds, then end the guest."""
        self._stopping = True
        self._unfinished += await self.withdraw()
        try:
            async with within(grace):
                await self._empty.wait()
        except TimeoutError:
            self._unfinished += [job.request for job in self._jobs.values()]
            self._jobs.clear()
            self._empty.set()
            await self._leave(self._guest.terminate)
        else:
            await self._leave(self._guest.close, self._guest.stop)
        self._outbox.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    async def _leave(self, *methods: Callable[[], object]) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        # Another thread: that one may be busy with what does not end.
        leaving = ThreadPoolExecutor(1, "umbel-guest-end")
        for method in methods:
            ending = self._loop.run_in_executor(leaving, method)
            patience = _PATIENCE if method == self._guest.terminate else None
            await asyncio.wait([ending], timeout=patience)
            if ending.done() and (error := ending.exception()) is not None:
                logger.error("The pool %r has not ended well: %r", self._guest, error)
        leaving.shutdown(wait=False)
        runner = _runners.pop((os.getpid(), self._target.number), None)
        if runner is not None and methods[0] != self._guest.terminate:
            runner.close()

    async def _end_job(self, pid: int, signal: str) -> None:
        end = partial(self._guest.terminate_job, pid, Signals[_full_name(signal)])
        try:
            await self._loop.run_in_executor(None, end)
        except NotImplementedError:
            kind = type(self._guest).__name__
            logger.warning("The pool %s cannot end what runs: it goes on", kind)

    def _drop(self, key: int) -> _Job | None:
        """Forget a request, unless the guest has it."""
        return None if self._waiting.pop(key, None) is None else self._forget(key)

    def _forget(self, key: int) -> _Job | None:
        job = self._jobs.pop(key, None)
        if not self._jobs:
            self._empty.set()
        return job

    # In the thread ------------------------------------------------------------------------------

    def _apply(self, job: _Job) -> None:
        request = job.request
        key = request.key
        if self._waiting.pop(key, None) is None:
            return
        tell = self._tell

        def accepted(pid: int | None, *_: Any) -> None:
            tell(self._accept, key, pid)

        def late(soft: bool, *_: Any) -> None:
            if not soft:
                tell(self._late, key)

        try:
            self._guest.apply_async(
                self._target,
                args=(request.task, request.id, _write(request)),
                kwargs={},
                accept_callback=accepted,
                callback=partial(tell, self._end, key),
                error_callback=partial(tell, self._fail, key),
                timeout_callback=late,
                soft_timeout=request.soft_time_limit,
                timeout=request.time_limit,
                correlation_id=request.id,
            )
        except BaseException as error:  # noqa: BLE001 - of a guest; it costs a task, not the pool
            tell(self._break, key, error)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        # The loop is closed: the pool was stopped, and gave the request back.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    # On the loop --------------------------------------------------------------------------------

    def _accept(self, key: int, pid: int | None) -> None:
        job = self._jobs.get(key)
        if job is not None:
            job.accepted = Running(key, _CLOCK.monotonic(), pid or os.getpid())

    def _end(self, key: int, value: Any) -> None:
        job = self._forget(key)
        if job is not None:
            try:
                outcome: Outcome = _read_outcome(value)
            except (TypeError, msgspec.MsgspecError) as error:
                # Guests may hand on what they know of a lost process in this way, too.
                outcome = self._verdict(job, getattr(value, "exception", None) or error)
            self._outbox.put([outcome])

    def _fail(self, key: int, error: Any) -> None:
        job = self._forget(key)
        if job is not None:
            self._outbox.put([self._verdict(job, getattr(error, "exception", error))])

    def _late(self, key: int) -> None:
        job = self._forget(key)
        if job is not None:
            self._outbox.put([overdue(job.request, runtime=_runtime(job))])

    def _break(self, key: int, error: BaseException) -> None:
        job = self._forget(key)
        if job is not None:
            self._outbox.put([broken(job.request, error)])

    def _verdict(self, job: _Job, error: Any) -> Outcome:
        if job.is_cancelled:
            return cancelled(job.request, runtime=_runtime(job))
        return lost(job.request, str(error) or repr(error), runtime=_runtime(job))


def _runtime(job: _Job) -> float:
    return 0.0 if job.accepted is None else _CLOCK.monotonic() - job.accepted.since


def _full_name(signal: str) -> str:
    name = signal.upper()
    return name if name.startswith("SIG") else f"SIG{name}"
