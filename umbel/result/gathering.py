"""Waiting for many results: in batches, over one connection, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import TYPE_CHECKING

from umbel.exceptions import BackendUnavailable
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result.outages import Outage
from umbel.result.waiting import OnMessage, ResultSource, load_meta
from umbel.states import READY_STATES

if TYPE_CHECKING:
    import asyncio

    from umbel.model import ResultRecord
    from umbel.protocols import ResultBackend
    from umbel.wire.results import ResultMeta

__all__ = ["LOADED_AT_ONCE", "Gathering", "load_all"]

LOADED_AT_ONCE = 2000
"""Results asked for in one call: more in one reply would keep other users of a server waiting."""
_WATCHED_AT_ONCE = 20_000
"""Results watched at a time. The first in a group are the first to be ready, as a rule: the next
are watched when these are there."""


async def load_all(source: ResultSource, ids: list[str]) -> dict[str, ResultMeta]:
    """What is stored about the tasks now; unknown ids are absent."""
    found: dict[str, ResultMeta] = {}
    for start in range(0, len(ids), LOADED_AT_ONCE):
        found.update(await load_meta(source, ids[start : start + LOADED_AT_ONCE]))
    return found


class Gathering:
    """The results of many tasks as they become ready.

    A backend that has been reached before, and is away now, is waited for.

    Not an iterator: synchronous callers come back for every batch through the portal, and each
    time another asyncio task does the work.

    Args:
        beside: Ids of tasks whose ends are handed out as well, and not waited for.
        timeout: Seconds from :meth:`open` for all of them; None: for ever.
        on_message: Called with each state seen on the way, as a ``celery-task-meta`` dict.
    """

    def __init__(
        self,
        source: ResultSource,
        ids: Iterable[str],
        *,
        beside: Iterable[str] = (),
        timeout: float | None,
        on_message: OnMessage | None = None,
    ) -> None:
        self._source = source
        self._timeout = timeout
        self._on_message = on_message
        self._missing = dict.fromkeys(ids)
        self._beside = frozenset(beside).difference(self._missing)
        # Last: what is waited for is watched first.
        self._missing.update(dict.fromkeys(self._beside))
        self._watched: set[str] = set()
        self._deadline: float | None = None
        self._outage = Outage(patience=None if timeout is None else inf)
        self._watch: AbstractAsyncContextManager[AsyncIterator[list[ResultRecord]]] | None = None
        self._changes: AsyncIterator[list[ResultRecord]] | None = None
        self._next: asyncio.Task[list[ResultRecord] | None] | None = None

    async def open(self) -> None:
        """Begin; the time begins to run."""
        if self._timeout is not None:
            self._deadline = _loop().time() + self._timeout

    async def more(self, patience: float | None = None) -> list[ResultMeta]:
        """Those that became ready since the last call: at least one, or none when ``patience``
        seconds are over, or when there is none left to wait for (:attr:`done`).

        Raises:
            TimeoutError: The time is over, and some are not ready.
            BackendUnavailable: The backend was never reached, or, without a timeout, is away for
                long.
        """
        # Needed only where somebody waits; costs 40 ms to import.
        import asyncio

        until = None if patience is None else _loop().time() + patience
        while self._missing:
            if self._next is None:
                self._next = asyncio.create_task(self._step())
            left = self._left(until)
            done, _ = await asyncio.wait([self._next], timeout=left)
            if not done:
                if self._deadline is None or _loop().time() < self._deadline:
                    return []
                return await self._at_the_last_moment()
            step, self._next = self._next, None
            records = step.result()
            if records is None:
                message = "the result backend stopped watching before all results were ready"
                raise ResultTimeout(message)
            ready = self._take(records)
            if ready:
                return ready
        return []

    @property
    def done(self) -> bool:
        """Whether all of them have been handed out."""
        return self._beside.issuperset(self._missing)

    async def close(self) -> None:
        """Wait for nothing any more."""
        # See more().
        import asyncio

        if self._next is not None:
            step, self._next = self._next, None
            step.cancel()
            await asyncio.wait([step])
        await self._leave()

    def _left(self, until: float | None) -> float | None:
        ends = [end for end in (until, self._deadline) if end is not None]
        return max(min(ends) - _loop().time(), 0.0) if ends else None

    async def _step(self) -> list[ResultRecord] | None:
        if self._changes is not None and not self._watched:
            await self._leave()
            return []
        # Not survived: a backend that was never reached may have a wrong address.
        backend = await self._source.connections.backend()
        return await self._outage.survive(lambda: self._news(backend))

    async def _news(self, backend: ResultBackend) -> list[ResultRecord] | None:
        try:
            if self._changes is None:
                ids = [id_ for id_, _ in zip(self._missing, range(_WATCHED_AT_ONCE), strict=False)]
                self._watched = set(ids)
                self._watch = backend.watch(ids)
                self._changes = await self._watch.__aenter__()
                self._outage.answered()
            return await anext(self._changes, None)
        except BackendUnavailable:
            # What came of this watch has been handed out; another one sees all the rest.
            await self._leave()
            raise

    async def _leave(self) -> None:
        watch, self._watch, self._changes = self._watch, None, None
        if watch is not None:
            await watch.__aexit__(None, None, None)

    def _take(self, records: list[ResultRecord]) -> list[ResultMeta]:
        ready: list[ResultMeta] = []
        read, missing, on_message = self._source.codec.read, self._missing, self._on_message
        for record in records:
            is_ready = record.state in READY_STATES
            if record.id not in missing or not (is_ready or on_message is not None):
                continue
            meta = read(record)
            if on_message is not None and record.id not in self._beside:
                on_message(meta.as_document())
            if is_ready:
                del missing[record.id]
                self._watched.discard(record.id)
                ready.append(meta)
        return ready

    async def _at_the_last_moment(self) -> list[ResultMeta]:
        """What is there when the time is over: a timeout of 0 means "look, do not wait"."""
        away = self._outage.error
        found = {} if away else await load_all(self._source, list(self._missing))
        ready = [meta for meta in found.values() if meta.status in READY_STATES]
        for meta in ready:
            self._missing.pop(meta.task_id, None)
            self._watched.discard(meta.task_id)
        if ready:
            return ready
        missing = [id_ for id_ in self._missing if id_ not in self._beside]
        some = ", ".join(missing[:3])
        message = (
            f"The operation timed out: {len(missing)} results were not ready in "
            f"{self._timeout} s, among them {some}.{self._outage.sentence}"
        )
        raise ResultTimeout(message) from away


def _loop() -> asyncio.AbstractEventLoop:
    # See Gathering.more.
    import asyncio

    return asyncio.get_running_loop()
