"""What an execution pool must do, and what it is given to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from umbel.model import Outcome, Request

__all__ = ["Pool", "Runner", "Running"]


class Running(msgspec.Struct, frozen=True):
    """A request that has been started."""

    key: int
    since: float
    """On the monotonic clock."""
    pid: int
    """The process that runs it."""


class Runner(Protocol):
    """Runs one request. Made in the process that runs tasks; pools know nothing else of tasks."""

    def open(self) -> None:
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

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Stop running requests: ask the task, or ``signal`` its process. Idempotent."""

    async def resize(self, size: int) -> None:
        """Grow or shrink; shrinking waits for busy slots."""

    async def stop(self, *, grace: float) -> list[Request]:
        """Let what runs finish within ``grace`` seconds, then cancel it; returns every request
        that was submitted and has not finished, those that never started first.

        ``outcomes`` goes on working during and after ``stop``, until it has handed out
        everything that did finish.
        """
        ...
