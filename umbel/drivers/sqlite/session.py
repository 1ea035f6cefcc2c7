"""One connection to the database, and what is known about it; used by the thread that owns it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from umbel.drivers.sqlite import files
from umbel.drivers.sqlite.errors import Unusable
from umbel.drivers.sqlite.queries import queries
from umbel.drivers.sqlite.schema import prepare
from umbel.routing.bindings import Bindings, Way

__all__ = ["News", "Session", "Stamp"]

T = TypeVar("T")

News = Literal["messages", "results", "broadcasts"]
"""What a transaction has for those who wait."""

Stamp = tuple[int, int]
"""What has been committed so far: by others, by us. Another stamp: look again."""

_CHECKPOINT_PAGES = 4000
"""16 MB of log before it is copied into the file: half the cost per message of the 4 MB that
SQLite would wait for."""
_LARGEST_LOG = 64 << 20
"""Bytes that the log keeps of the disk when it begins anew; a large batch, or readers that are
always there, can make it larger for a while."""


class Session:
    """An open database. Everything here runs in the owner's thread."""

    def __init__(self, path: str, synchronous: str, uptime: Callable[[], float]) -> None:
        files.create(path)
        self.path = path
        # What leases go by. Asked inside the transaction, under the lock that writers have one
        # after the other: so nobody ever finds a lease that begins later than now.
        self.uptime = uptime
        self.sql = queries()
        # The transaction that runs now notes here what it has for whom.
        self.news: set[News] = set()
        self.file = files.identity(Path(path))
        self._queue_by_name: dict[str, int] = {}
        self._bindings = Bindings()
        self._last_binding: int | None = None
        self.db = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self.execute = self.db.execute
        self.executemany = self.db.executemany
        try:
            self._configure(synchronous)
        except BaseException:
            self.db.close()
            raise

    def _configure(self, synchronous: str) -> None:
        if sqlite3.sqlite_version_info < (3, 24):
            raise Unusable(f"SQLite 3.24 or newer is needed, this is {sqlite3.sqlite_version}")
        mode = self.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise Unusable(
                f"cannot use the database {self.path!r}: its file system (a network share?) does "
                f"not allow write-ahead logging, the journal stays {mode!r}. Use a local disk."
            )
        self.execute(f"PRAGMA synchronous = {synchronous}")
        self.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
        self.transact(Session._prepare)

    def _prepare(self) -> None:
        prepare(self.db, self.path)
        self.execute(self.sql["end_foreign_leases"], (self.uptime(),))

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do it in one transaction, or not at all."""
        self.execute(self.sql["begin"])
        try:
            result = work(self)
            self.execute(self.sql["commit"])
        except BaseException:
            self._queue_by_name.clear()
            self._last_binding = None
            self.news.clear()
            if self.db.in_transaction:
                self.db.rollback()
            raise
        return result

    def data_version(self) -> int:
        """Another number after each commit of another connection."""
        version: int = self.execute(self.sql["data_version"]).fetchone()[0]
        return version

    def listeners(self, kind: News) -> list[str]:
        """The names of those who wait for such news."""
        return [name for (name,) in self.execute(self.sql["listeners"], (kind,))]

    def known_queue(self, name: str) -> int | None:
        """A queue's number, if there is such a queue."""
        known = self._queue_by_name.get(name)
        if known is None:
            row = self.execute(self.sql["queue_by_name"], (name,)).fetchone()
            if row is None:
                return None
            known = self._queue_by_name[name] = row[0]
        return known

    def queue(self, name: str) -> tuple[int, float | None]:
        """A queue's number and ``message_ttl``; made if there is none. In a transaction, and good
        for no other: somebody may declare it meanwhile."""
        row: tuple[int, float | None] | None
        row = self.execute(self.sql["queue_by_name"], (name,)).fetchone()
        if row is None:
            self.execute(self.sql["add_queue"], (name,))
            row = self.execute(self.sql["queue_by_name"], (name,)).fetchone()
            assert row is not None, "it has just been made"
        return row

    def bindings(self) -> Bindings:
        """What is bound now. In a transaction."""
        (last,) = self.execute(self.sql["last_binding"]).fetchone()
        if last != self._last_binding:
            decode = msgspec.json.decode
            self._bindings = Bindings(
                Way(exchange, type_, key, queue, decode(arguments, type=dict[str, object]))
                for exchange, type_, key, queue, arguments in self.execute(self.sql["bindings"])
            )
            self._last_binding = last
        return self._bindings

    def close(self) -> None:
        """Close it; the last one copies the log into the file."""
        self.db.close()
