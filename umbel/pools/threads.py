"""The thread pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from umbel.model import Request
from umbel.pools.crewed import CrewedPool
from umbel.protocols import Runner

__all__ = ["ThreadPool"]


class ThreadPool(CrewedPool):
    """Runs requests in threads of the worker's process.

    A soft time limit is an exception that the thread gets at its next line of Python, so not
    while it waits in a system call. After a hard one, or :meth:`cancel` with a signal, the task
    is asked in the same way to end; a thread cannot be killed.
    """

    def __init__(self, make_runner: Callable[[], Runner], size: int) -> None:
        super().__init__(make_runner, size, threads=size)

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        crew = self._crew
        if crew is None or self._stopping:
            return 0
        return max(0, crew.size * crew.pace.ahead - crew.held)

    async def submit(self, requests: Sequence[Request]) -> None:
        """Queue the requests for the next free threads."""
        assert self._crew is not None, "start() comes first"
        self._crew.add(requests)

    async def resize(self, size: int) -> None:
        """Grow or shrink; a busy thread goes when its task is done."""
        self._threads = size
        if self._crew is not None:
            self._crew.resize(size)
        await super().resize(size)
