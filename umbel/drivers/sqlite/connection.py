"""How a loop uses a database: jobs as coroutines, and waiting for news."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Literal, TypeVar

from umbel.drivers.sqlite.calm import Calm
from umbel.drivers.sqlite.errors import Unusable
from umbel.drivers.sqlite.jobs import Job, Waiters
from umbel.drivers.sqlite.owner import Owner
from umbel.drivers.sqlite.session import News, Session, Stamp
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.protocols import Clock

__all__ = ["Connection"]

T = TypeVar("T")

_LONGEST_SLEEP = 3600.0


class Connection:
    """A database as one loop sees it.

    Args:
        error: What is raised when the database cannot be used.
        kind: Which news :meth:`wait` is woken for at once; of others it hears a little later.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        error: type[BrokerUnavailable | BackendUnavailable],
        kind: News,
        synchronous: Literal["NORMAL", "FULL"],
        patience: float,
    ) -> None:
        self.path = os.path.realpath(path)
        if synchronous not in {"NORMAL", "FULL"}:
            raise ValueError(f"synchronous={synchronous!r}: it can be 'NORMAL' or 'FULL'")
        self._clock = clock
        self._error = error
        self._kind: News = kind
        self._synchronous: Literal["NORMAL", "FULL"] = synchronous
        self._patience = patience
        self._owner: Owner | None = None
        self._finalizer: weakref.finalize[..., Connection] | None = None

    @property
    def opened(self) -> bool:
        """Between ``open`` and ``close``."""
        return self._owner is not None

    async def open(self) -> None:
        """Open the database; make it if there is none. Idempotent."""
        if self._owner is not None:
            return
        self._owner = Owner(
            self.path,
            synchronous=self._synchronous,
            patience=self._patience,
            kind=self._kind,
            waiters=Waiters(asyncio.get_running_loop()),
            uptime=self._clock.uptime,
        )
        # The owner knows nothing of us, so that its thread ends should we be forgotten unclosed.
        self._finalizer = weakref.finalize(self, self._owner.stop)
        try:
            await self.run(_touch, writes=False)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was asked for, then close the database. Idempotent."""
        owner, self._owner = self._owner, None
        if owner is None:
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        owner.waiters.wake(None)
        if owner.listener is not None:
            # The thread is about to close it.
            owner.waiters.loop.remove_reader(owner.listener.fd)
        stopped = Job(_touch, loop=asyncio.get_running_loop())
        owner.stop(stopped)
        await stopped.result()

    async def run(
        self,
        work: Callable[[Session], T],
        *,
        writes: bool = True,
        unseen: Callable[[T], None] | None = None,
    ) -> T:
        """Do it in the thread; in one transaction if it ``writes``. See :class:`Job`.

        Raises:
            BrokerUnavailable, BackendUnavailable: The database cannot be used; says why.
        """
        job = self.begin(work, writes=writes, unseen=unseen)
        try:
            return await job.result()
        except Unusable as error:
            raise self._error(str(error)) from error.__cause__

    def begin(
        self,
        work: Callable[[Session], T],
        *,
        writes: bool = True,
        unseen: Callable[[T], None] | None = None,
    ) -> Job[T]:
        """The same, for those who need not wait."""
        job = Job(work, loop=asyncio.get_running_loop(), writes=writes, unseen=unseen)
        self._require_owner().put(job)
        return job

    def observe(self, session: Session) -> Stamp:
        """What has been committed up to now; to be asked for, in the thread, before looking."""
        return self._require_owner().observe(session)

    @property
    def calm(self) -> Calm:
        """Whether the database can be written; for the thread."""
        return self._require_owner().calm

    async def wait(self, stamp: Stamp, *, until: float) -> None:
        """Wait until something is committed after ``stamp``, or until a monotonic moment."""
        owner = self._require_owner()
        waiters = owner.waiters
        loop = asyncio.get_running_loop()
        if not waiters:
            # Another one only in a forked child.
            waiters.loop = loop
            owner.listen()
        reader = owner.listener
        future = waiters.add(stamp)
        if reader is not None:
            loop.add_reader(reader.fd, _rung, owner)
        # The clock alone knows when it is time; a task group would raise what ends it.
        timer = loop.create_task(self._sleep(until))
        timer.add_done_callback(lambda _: _end(future))
        try:
            # Only now: between the look and this, others may have committed.
            if owner.stamp == stamp:
                await future
        finally:
            timer.cancel()
            waiters.remove(future)
            if reader is not None and not waiters and reader is owner.listener:
                loop.remove_reader(reader.fd)

    async def _sleep(self, until: float) -> None:
        # The difference is taken here: time may have passed before this task came to run.
        left = until - self._clock.monotonic()
        await self._clock.sleep(min(max(left, 0.0), _LONGEST_SLEEP))

    def _require_owner(self) -> Owner:
        if self._owner is None:
            raise self._error(f"the database {self.path!r} is closed; await open() first")
        return self._owner


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _touch(_: Session) -> None:
    """To open it is all."""


def _rung(owner: Owner) -> None:
    if owner.listener is not None:
        owner.listener.drain()
    owner.waiters.wake(None)
