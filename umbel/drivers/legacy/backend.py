"""A result backend made for Celery, as one of umbel's.

Such a backend is synchronous and is asked again and again: its calls run in a thread of their
own, one after another, and whoever watches looks often at first and seldom later.

What it cannot do is to count the members of a chord so that each counts once, whatever is
repeated after a crash. That is done by a result backend of umbel's own, where the broker can be
one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from umbel.drivers.legacy.documents import Told, document_of
from umbel.exceptions import BackendUnavailable, EncodeError
from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord
from umbel.protocols import Clock, ResultBackend
from umbel.serialization.registry import serializer
from umbel.states import EXCEPTION_STATES, FAILURE, PENDING, SUCCESS, finality
from umbel.wire import errors
from umbel.wire.documents import decode_group, encode_group, read_document

__all__ = ["LegacyBackend"]

T = TypeVar("T")

_SOON = 0.02
"""Seconds until the second look at what somebody waits for."""
_SELDOM = 0.5
"""Seconds between later ones, unless the backend says how often."""
_LIMIT = 1 << 40
"""Bytes; what is unpacked here is what this program has packed."""

_NO_CHORDS = (
    "chords cannot be counted: the result backend {name} is made for Celery, and the broker keeps "
    "no results. Set result_backend_transport_options = {{'chord_backend': 'redis://…'}}, the URL "
    "of a result backend that counts the members of chords."
)


class LegacyBackend:
    """Implements ``umbel.protocols.ResultBackend``.

    Args:
        make: Makes the backend; called in the thread that uses it.
        revive: The result that a result tuple stands for.
        counting: What counts the members of chords, not opened yet; None: nothing can.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        revive: Callable[[Any], Any],
        counting: ResultBackend | None,
        clock: Clock,
    ) -> None:
        self._make = make
        self._revive = revive
        self._counting = counting
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._backend: Any = None
        self._stored = asyncio.Event()

    @property
    def counts_chords(self) -> bool:
        """Whether something else counts them: such backends do not."""
        return self._counting is not None

    async def open(self) -> None:
        """Make the backend. Idempotent.

        Raises:
            BackendUnavailable: It could not be made.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="umbel-results")
            self._backend = await self._call("made", self._make)
            if self._counting is not None:
                await self._counting.open()

    async def close(self) -> None:
        """Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, _leave)
            thread.shutdown()
            if self._counting is not None:
                await self._counting.close()

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Keep the records, but for those that would lower a final state."""
        if records:
            await self._call("written", self._store, records)
            stored, self._stored = self._stored, asyncio.Event()
            stored.set()

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """The records that exist; unknown ids are simply absent."""
        return await self._call("read", self._load, ids) if ids else {}

    async def forget(self, ids: Sequence[str]) -> None:
        """Delete the records; unknown ids are ignored."""
        await self._call("deleted", self._for_each, "forget", ids)

    @asynccontextmanager
    async def watch(self, ids: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those already there first, then each change that a look at
        them shows."""
        changes = self._changes(ids)
        try:
            yield changes
        finally:
            await changes.aclose()

    async def _changes(self, ids: Sequence[str]) -> AsyncGenerator[list[ResultRecord]]:
        waiting, seen, pause = list(ids), dict[str, bytes](), _SOON
        while True:
            stored = self._stored
            found = await self.load(waiting)
            fresh = [each for each in found.values() if seen.get(each.id) != each.body]
            if fresh:
                seen |= {each.id: each.body for each in fresh}
                pause = _SOON
                # Nothing replaces a success.
                waiting = [id_ for id_ in waiting if _state(found.get(id_)) != SUCCESS]
                yield fresh
            await self._pause(pause, stored)
            longest = self._backend.subpolling_interval or _SELDOM
            pause = min(pause * 1.5, longest)

    async def _pause(self, seconds: float, stored: asyncio.Event) -> None:
        """Wait, until something is stored here."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds))]
        waits.append(asyncio.ensure_future(_set(stored)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.wait(waits)

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Keep the groups."""
        if groups:
            await self._call("written", self._store_groups, groups)

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """The groups that exist; unknown ids are simply absent."""
        return await self._call("read", self._load_groups, ids) if ids else {}

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups; unknown ids are ignored."""
        await self._call("deleted", self._for_each, "delete_group", ids)

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say what chords there are, and how many members are to arrive at each.

        Raises:
            NotImplementedError: Nothing here can count them.
        """
        if expected:
            await self._counter().expect(expected)

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """More tasks are to arrive at each chord."""
        if members:
            await self._counter().enlarge(members)

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count chord members in; returns the chords that are full."""
        return await self._counter().arrive(arrivals) if arrivals else []

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """The chords' bodies are published."""
        if chord_ids:
            await self._counter().seal(chord_ids)

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each publication is the one that runs."""
        if self._counting is None:
            # Only chords are published more than once.
            return [True for _ in publications]
        return await self._counting.claim(publications)

    async def prune(self, *, before: float, limit: int) -> int:
        """Have the backend delete what it takes to be expired."""
        await self._call("cleaned up", self._clean_up)
        return (
            0 if self._counting is None else await self._counting.prune(before=before, limit=limit)
        )

    def _counter(self) -> ResultBackend:
        if self._counting is None:
            raise NotImplementedError(_NO_CHORDS.format(name=type(self._backend).__name__))
        return self._counting

    # -- in the thread

    async def _call(self, what: str, work: Callable[..., T], *args: Any) -> T:
        if self._thread is None:
            raise BackendUnavailable("the result backend is closed; await open() first")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, _refreshed, work, *args
            )
        except EncodeError:
            raise
        except Exception as error:
            # Whatever a backend raises: nobody knows whether it would work the next time.
            name = getattr(self._make, "__name__", "the result backend")
            name = name if self._backend is None else type(self._backend).__name__
            raise BackendUnavailable(f"{name} could not be {what}: {error!r}") from error

    def _store(self, records: Sequence[ResultRecord]) -> None:
        backend = self._backend
        form = serializer(backend.serializer)
        for record in records:
            if record.state != SUCCESS:
                current = backend.get_task_meta(record.id, cache=False)["status"]
                # The lower, the more final.
                if finality(current) < finality(record.state):
                    continue
            document = read_document(
                record.body, form, accept=frozenset({form.content_type}), limit=_LIMIT
            )
            result = document.get("result")
            if record.state in EXCEPTION_STATES and result is not None:
                result = errors.decode(result)
            traceback, told = document.get("traceback"), Told(document)
            try:
                backend.store_result(
                    record.id, result, record.state, traceback=traceback, request=told
                )
            except (EncodeError, TypeError, ValueError) as error:
                # It would fail the next time, too, and keep the others from being stored.
                backend.store_result(record.id, error, FAILURE, request=told)

    def _load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        backend = self._backend
        if hasattr(backend, "get_metas"):
            metas = backend.get_metas(ids)
        else:
            metas = {id_: backend.get_task_meta(id_, cache=False) for id_ in ids}
        form = serializer(backend.serializer)
        return {
            id_: ResultRecord(
                id=id_, state=str(meta["status"]), body=form.dumps(document_of(id_, meta, form))
            )
            for id_, meta in metas.items()
            if meta["status"] != PENDING or meta.get("result") is not None
        }

    def _for_each(self, method: str, ids: Sequence[str]) -> None:
        for id_ in ids:
            getattr(self._backend, method)(id_)

    def _store_groups(self, groups: Sequence[GroupRecord]) -> None:
        form = serializer(self._backend.serializer)
        for group in groups:
            id_, parent, members = decode_group(group.body, serializer=form.name, limit=_LIMIT)
            self._backend.save_group(group.id, self._revive([[id_, parent], members]))

    def _load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        found: dict[str, GroupRecord] = {}
        for id_ in ids:
            result = self._backend.restore_group(id_, cache=False)
            if result is not None:
                (_, parent), members = result.as_tuple()
                body = encode_group(id_, parent, members, serializer=self._backend.serializer)
                found[id_] = GroupRecord(id=id_, body=body)
        return found

    def _clean_up(self) -> None:
        self._backend.cleanup()


def _refreshed(work: Callable[..., T], *args: Any) -> T:
    """Do the work; on connections that are none too old, where they are Django's."""
    # Not imported: who has no Django backend has no Django.
    django = sys.modules.get("django.db")
    if django is not None:
        django.close_old_connections()
    try:
        return work(*args)
    except Exception:
        if django is not None:
            django.close_old_connections()
        raise


def _leave() -> None:
    django = sys.modules.get("django.db")
    if django is not None:
        django.connections.close_all()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _state(record: ResultRecord | None) -> str | None:
    return None if record is None else record.state
