"""The thread that owns a database.

SQLite blocks, so it runs beside the loop; and one connection used by one thread needs no locks.
No connection may live through a fork: all are closed just before one, and opened anew after it.
"""

from __future__ import annotations

import os
import queue
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from umbel.drivers.sqlite import files
from umbel.drivers.sqlite.calm import Calm
from umbel.drivers.sqlite.errors import Unusable, explain, is_busy
from umbel.drivers.sqlite.jobs import Job, Waiters
from umbel.drivers.sqlite.session import News, Session, Stamp

__all__ = ["Owner"]

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.025
"""Between two looks for news, with nobody there to wake us."""
_LONGEST_PAUSE_WITH_PIPE = 0.1
"""The same when others wake us, and looking only makes up for those who cannot."""
_SHORT_WAIT = 0.1
"""Seconds for which a lock is asked for every half millisecond; then ten times more rarely."""
_LONG_WAIT = 0.5
"""Seconds after which it is no mere queue of writers."""


class _Stop:
    """The last thing to do."""

    def __init__(self, job: Job[None] | None) -> None:
        self.job = job


class Owner:
    """A thread and its session.

    Args:
        synchronous: ``NORMAL`` or ``FULL``, as SQLite means it.
        patience: Seconds to wait for the write lock.
        kind: Which news our waiters want to be woken for.
        uptime: The clock that leases go by.
    """

    def __init__(
        self,
        path: str,
        *,
        synchronous: Literal["NORMAL", "FULL"],
        patience: float,
        kind: News,
        waiters: Waiters,
        uptime: Callable[[], float],
    ) -> None:
        self.path = path
        self._uptime = uptime
        self._file = Path(path)
        self.waiters = waiters
        self.pid = os.getpid()
        # Replaced whole by the thread, compared on the loop.
        self.stamp: Stamp = (0, 0)
        # Opened on the loop, when someone waits for the first time.
        self.listener: files.Listener | None = None
        self.jobs: queue.SimpleQueue[Job[Any] | _Stop | None] = queue.SimpleQueue()
        # Held while the session is used; taken by whoever forks.
        self._mutex = threading.Lock()
        self._session: Session | None = None
        self._synchronous: Literal["NORMAL", "FULL"] = synchronous
        self._patience = patience
        self._kind: News = kind
        self._started = False
        # What only the thread touches.
        self.calm = Calm(uptime)
        self._abandoned_pipes: list[str] = []
        _owners.add(self)

    # On the loop ------------------------------------------------------------------------------

    def put(self, job: Job[Any]) -> None:
        """Do it, after everything that was put before."""
        if self.pid != os.getpid():
            # Forked by something that does not tell Python.
            self._begin_in_child()
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="umbel-sqlite", daemon=True).start()
        self.jobs.put(job)

    def listen(self) -> None:
        """Look for news from now on, and let others wake us, where that is possible."""
        if self.listener is None:
            self.listener = files.Listener.open(self.path)
            if self.listener is not None:
                row = (self.listener.name, self._kind)
                job = Job(
                    lambda session: session.execute(session.sql["add_listener"], row),
                    loop=self.waiters.loop,
                )
                # Should it fail, we hear of news by looking.
                job.detach()
                self.jobs.put(job)
        # So that the thread, which may be waiting for a job without end, looks now and then.
        self.jobs.put(None)

    def stop(self, job: Job[None] | None = None) -> None:
        """End the thread when everything before is done; then the job is."""
        if self._started and self.pid == os.getpid():
            self.jobs.put(_Stop(job))
        elif job is not None:
            job.finish(None, None)

    # In the thread ----------------------------------------------------------------------------

    def observe(self, session: Session) -> Stamp:
        """What has been committed up to now; to be asked for before looking."""
        self._observe((session.data_version(), self.stamp[1]))
        return self.stamp

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                job = self.jobs.get(timeout=pause if self.waiters else None)
            except queue.Empty:
                longest = _LONGEST_PAUSE if self.listener is None else _LONGEST_PAUSE_WITH_PIPE
                pause = _FIRST_PAUSE if self._look() else min(pause * 1.5, longest)
                continue
            if isinstance(job, _Stop):
                break
            if job is not None:
                self._do(job)
            pause = _FIRST_PAUSE
        self._leave()
        if job.job is not None:
            job.job.finish(None, None)

    def _leave(self) -> None:
        self._started = False
        listener, self.listener = self.listener, None
        with self._mutex:
            session, self._session = self._session, None
            if session is not None:
                try:
                    if listener is not None:
                        session.execute(session.sql["remove_listener"], (listener.name,))
                except sqlite3.Error:
                    # Whoever has news next finds nobody there, and removes the row.
                    pass
                finally:
                    session.close()
        if listener is not None:
            listener.close()

    def _do(self, job: Job[Any]) -> None:
        # Given up before it began: as if it had never been asked for.
        if job.future.cancelled():
            return
        told: list[str] = []
        result: Any = None
        error: Exception | None = None
        try:
            result, told = self._insist(job)
        except (sqlite3.Error, OSError, Unusable) as exc:
            error = Unusable(explain(exc, self.path))
            error.__cause__ = exc
            self.calm.fail()
            # Who knows what state it is in; the next job begins with a new one.
            self._close()
        except Exception as exc:  # noqa: BLE001 - of those who asked, and theirs to handle
            error = exc
        job.finish(result, error)
        for name in told:
            if not files.ring(self.path, name):
                self._abandoned_pipes.append(name)

    def _insist(self, job: Job[Any]) -> tuple[Any, list[str]]:
        slept = 0.0
        while True:
            try:
                with self._mutex:
                    return self._attempt(job)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or slept >= self._patience:
                    raise
            # SQLite's own waiting lets one of two busy writers starve, short random pauses do
            # not. This thread has no loop whose clock could wait.
            delay = random.uniform(0.0001, 0.0006)  # noqa: S311
            if slept > _SHORT_WAIT:
                delay *= 10
            time.sleep(delay)
            slept += delay
            if slept > _LONG_WAIT:
                self.calm.fail()

    def _attempt(self, job: Job[Any]) -> tuple[Any, list[str]]:
        session = self._opened()
        if not job.writes:
            return job.work(session), []
        told: list[str] = []

        def work(session: Session) -> Any:
            result = job.work(session)
            for name in self._abandoned_pipes:
                session.execute(session.sql["remove_listener"], (name,))
            for kind in session.news:
                told.extend(session.listeners(kind))
            return result

        result = session.transact(work)
        self.calm.succeed()
        self._abandoned_pipes.clear()
        if session.news:
            session.news.clear()
            self._observe((self.stamp[0], self.stamp[1] + 1))
        own = self.listener.name if self.listener is not None else None
        return result, [name for name in told if name != own]

    def _opened(self) -> Session:
        session = self._session
        if session is not None and files.identity(self._file) != session.file:
            # Removed or replaced: what we have open is nobody else's database.
            self._session = None
            session.close()
            session = None
        if session is None:
            session = Session(self.path, self._synchronous, self._uptime)
            try:
                if self.listener is not None:
                    session.execute(session.sql["add_listener"], (self.listener.name, self._kind))
                stamp = (session.data_version(), self.stamp[1] + 1)
            except BaseException:
                # Somebody may have locked it in between: all of it again, or none.
                session.close()
                raise
            self._session = session
            self._observe(stamp)
        return session

    def _close(self) -> None:
        with self._mutex:
            session, self._session = self._session, None
            if session is not None:
                session.close()

    def _look(self) -> bool:
        try:
            with self._mutex:
                session = self._opened()
                return self._observe((session.data_version(), self.stamp[1]))
        except (sqlite3.Error, OSError, Unusable):
            # Those who wait will look themselves, and be told what is wrong.
            return self._observe((self.stamp[0], self.stamp[1] + 1))

    def _observe(self, stamp: Stamp) -> bool:
        if stamp == self.stamp:
            return False
        self.stamp = stamp
        self.waiters.wake_from_thread(stamp)
        return True

    # Around a fork ------------------------------------------------------------------------------

    def hold(self) -> None:
        """Close the session between two transactions, and let nobody open another."""
        self._mutex.acquire()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def release(self) -> None:
        """In the parent: go on; the next job opens another session."""
        self._mutex.release()

    def _begin_in_child(self) -> None:
        if self._session is not None:
            # Closing the parent's connection here would reach into the parent's locks.
            _inherited.append(self._session)
            self._session = None
        self.begin_in_child()

    def begin_in_child(self) -> None:
        """In the child: thread, pipe and waiters are the parent's."""
        self.pid = os.getpid()
        self._mutex = threading.Lock()
        self.jobs = queue.SimpleQueue()
        self._started = False
        self.waiters.clear()
        if self.listener is not None:
            self.listener.close(remove=False)
            self.listener = None


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()
"""Every owner of the process, for whoever forks."""
_forking = threading.Lock()
"""Held by the thread that forks; another one has to wait for its turn."""
_held: list[Owner] = []
"""Those that stand still while the process forks; written by the thread that forks."""
_inherited: list[Session] = []
"""What must neither be used nor closed here, nor be collected."""


def _before_fork() -> None:
    _forking.acquire()
    _held[:] = list(_owners)
    for owner in _held:
        owner.hold()


def _after_fork_in_parent() -> None:
    for owner in _held:
        owner.release()
    _held.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    for owner in _held:
        owner.begin_in_child()
    _held.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
