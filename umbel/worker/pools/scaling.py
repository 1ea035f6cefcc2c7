"""A pool that grows with what it is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured
from umbel.model import Outcome, Request
from umbel.protocols import Pool, Running
from umbel.utils.imports import symbol_by_name
from umbel.worker.autoscale import Autoscaler
from umbel.worker.options import WorkerOptions

if TYPE_CHECKING:
    from umbel.worker.worker import Worker

__all__ = ["ScaledPool", "make_autoscaler"]

_CELERYS = "celery."


def make_autoscaler(options: WorkerOptions, pool: Pool, worker: Worker) -> Autoscaler:
    """The autoscaler that the options ask for: ours, or a class by its name.

    Raises:
        ImproperlyConfigured: There is no such class.
    """
    assert options.autoscale is not None, "asked before"
    most, least = options.autoscale
    made = options.autoscaler
    if isinstance(made, str):
        name = made.replace(_CELERYS, "umbel.", 1) if made.startswith(_CELERYS) else made
        try:
            made = symbol_by_name(name)
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(f"worker_autoscaler is {name!r}: {error}") from error
    scaler: Autoscaler = made(pool, most, least, worker=worker)
    return scaler


class ScaledPool:
    """Another pool, with the room that it would have if it were as large as its autoscaler may
    make it: so tasks are fetched that it has to grow for, and then it does."""

    def __init__(self, pool: Pool, autoscaler: Autoscaler) -> None:
        self._pool = pool
        self._autoscaler = autoscaler

    @property
    def size(self) -> int:
        """How many may run at once, when it has grown."""
        return self._pool.size + self._autoscaler.headroom

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        return self._pool.free + self._autoscaler.headroom

    @property
    def pids(self) -> list[int]:
        """The processes that run tasks."""
        pids: list[int] = getattr(self._pool, "pids", [os.getpid()])
        return pids

    def prepare(self) -> None:
        """Prepare the pool."""
        self._pool.prepare()

    async def start(self) -> None:
        """Start the pool, as small as it may be."""
        await self._pool.start()

    async def submit(self, requests: Sequence[Request]) -> None:
        """Hand them to the pool, and make it as large as they need."""
        for request in requests:
            self._autoscaler.maybe_scale(request)
        await self._autoscaler.apply()
        await self._pool.submit(requests)

    async def outcomes(self) -> list[Outcome]:
        """What has finished."""
        return await self._pool.outcomes()

    def running(self) -> list[Running]:
        """What runs."""
        return self._pool.running()

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back what has not started."""
        return await self._pool.withdraw(keys)

    def watch(self, changed: Callable[[], None]) -> None:
        """Say when there may be more room."""
        self._pool.watch(changed)

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """End these."""
        await self._pool.cancel(keys, signal=signal)

    async def resize(self, size: int) -> None:
        """Change the size, until the autoscaler thinks otherwise."""
        await self._pool.resize(size)

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Replace the processes."""
        await self._pool.restart(modules, reload=reload)

    async def stop(self, *, grace: float) -> list[Request]:
        """Stop the pool."""
        return await self._pool.stop(grace=grace)
