"""What an execution pool must do, and what it is given to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from umbel.model import Outcome, Request

__all__ = ["Interrupts", "Occupied", "Pool", "Receiver", "Runner", "Running"]

Receiver = Callable[[BaseException], None]
"""Sees to it that the exception is raised where a coroutine waits; called from anywhere, also
between two lines of the thread that it is for."""


class Interrupts(Protocol):
    """A pool's way to raise an exception inside what runs: ``SoftTimeLimitExceeded`` when the
    request's soft limit is over, ``TaskRevokedError`` when it is cancelled.

    The runner says when user code runs; nothing is ever raised outside of that. What user code
    does about the exception is its own affair: it may catch it, and go on.
    """

    @property
    def every(self) -> bool:
        """Whether every request is to be announced, or only those with time limits."""
        ...

    def begin(self, request: Request) -> None:
        """User code begins in the calling thread. The soft limit counts from here."""

    def end(self) -> None:
        """User code has ended. May itself raise what was on its way, once, never afterwards."""

    def divert(self, receiver: Receiver | None) -> None:
        """User code of the calling thread is a coroutine from here on: an exception that comes
        while it waits goes to ``receiver``. None: it is no longer."""


@runtime_checkable
class Occupied(Protocol):
    """What runs tasks on the worker's own thread: while one runs, the worker's loop stands still,
    and a signal of the OS is heard by its handler alone."""

    def hold(self) -> None:
        """Start nothing more: a shutdown is to come. Called from a handler of signals."""

    def strike(self, after: float) -> None:
        """End what runs in ``after`` seconds, by ``TaskCancelled``; its outcome waits for
        :meth:`Pool.cancel`. Called from a handler of signals, in which it may raise that."""


class Running(msgspec.Struct, frozen=True):
    """A request that has been started."""

    key: int
    since: float
    """On the monotonic clock."""
    pid: int
    """The process that runs it."""


class Runner(Protocol):
    """Runs one request. Made in the process that runs tasks; pools know nothing else of tasks."""

    def open(self, interrupts: Interrupts) -> None:
        """Called once in each process that runs tasks, before its first request."""

    def close(self) -> None:
        """Called once in each process that runs tasks, after its last request."""

    def run(self, request: Request) -> Outcome:
        """Run a request, in the calling thread, to its end. ``async def`` tasks run here too,
        on a loop of the thread's own. Never raises for what user code does; ``SystemExit`` and
        ``KeyboardInterrupt`` of user code are outcomes."""
        ...

    async def arun(self, request: Request) -> Outcome:
        """Run a request on the running loop; a task that is not a coroutine function blocks it."""
        ...

    def is_async(self, request: Request) -> bool:
        """Whether the request's task is a coroutine function."""
        ...


class Pool(Protocol):
    """Runs requests, ``size`` at a time. Every submitted request yields exactly one outcome,
    whatever becomes of it: a killed child or a missed time limit is an outcome too.

    :attr:`Request.soft_time_limit` and :attr:`Request.time_limit` count from when the request
    starts to run, not from when it was submitted. When the first is over, the task gets a
    ``SoftTimeLimitExceeded``; when the second is, its outcome is ``Failed(cause="time-limit")``,
    and nothing else that was submitted is harmed.

    A pool may be handed more than ``size`` requests when they are short (``free`` says how many);
    then it keeps them in order behind the running ones, and hands them back at ``stop``.
    """

    @property
    def size(self) -> int:
        """How many requests run at once."""
        ...

    @property
    def free(self) -> int:
        """How many more may be submitted now; grows while tasks are short."""
        ...

    def prepare(self) -> None:
        """Fork what has to be forked from a process that has neither threads nor a loop.

        Called once, before the event loop runs. Pools without processes do nothing.
        """

    async def start(self) -> None:
        """Be ready to run requests."""

    async def submit(self, requests: Sequence[Request]) -> None:
        """Start the requests; at most ``free`` of them."""

    async def outcomes(self) -> list[Outcome]:
        """Wait until something has finished, then return everything that has."""
        ...

    def running(self) -> list[Running]:
        """What has been started and has no outcome yet."""
        ...

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started, in the order they would have: those of
        ``keys``, or all. They get no outcome and never start here. What has started goes on."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed``, on the loop, whenever there may be more room without an outcome
        having come: a child is ready, or has handed something back, or the pool was resized."""

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """See that these come to an end: ``Revoked``, unless they end otherwise before.

        What has not started is dropped. What runs goes on, unless there is a ``signal``: then
        the process that runs it gets that, or, where tasks share a process, the task is asked to
        end as well as can be: by ``TaskCancelled`` raised inside, or by asyncio's cancellation.
        Idempotent.
        """

    async def resize(self, size: int) -> None:
        """Grow or shrink; shrinking waits for busy slots."""

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Replace the processes that run tasks, each when it has nothing more to do. Does
        nothing where there are none.

        Args:
            modules: What the new processes are to have imported; the caller has done so here.
            reload: Whether to import again what was imported already.
        """

    async def stop(self, *, grace: float) -> list[Request]:
        """Let what runs finish within ``grace`` seconds, then cancel it; returns every request
        that was submitted and has not finished, those that never started first.

        ``outcomes`` goes on working during and after ``stop``, until it has handed out
        everything that did finish.
        """
        ...
