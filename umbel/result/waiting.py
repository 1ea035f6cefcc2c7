"""Waiting for results: one coroutine over ``ResultBackend.watch``, for threads and for async."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result.outages import Outage
from umbel.states import PROPAGATE_STATES, READY_STATES

if TYPE_CHECKING:
    from umbel.model import ResultRecord
    from umbel.protocols import ResultBackend
    from umbel.wire.results import ResultCodec, ResultMeta

__all__ = ["OnMessage", "ResultSource", "default_source", "load_meta", "look_through", "wait_for"]

T = TypeVar("T")

OnMessage = Callable[[dict[str, Any]], object]
"""Called with each state that is seen, as the ``celery-task-meta`` document."""


class _Connections(Protocol):
    async def backend(self) -> ResultBackend:
        """The running loop's result backend."""
        ...


class _Portal(Protocol):
    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Await ``function(*args)`` for a synchronous caller."""
        ...


class ResultSource(Protocol):
    """Where results are read from: an app, as seen from here."""

    @property
    def connections(self) -> _Connections:
        """Gives open result backends."""
        ...

    @property
    def portal(self) -> _Portal:
        """Runs coroutines for synchronous callers."""
        ...

    @property
    def backend(self) -> Any:
        """The result backend under Celery's names."""
        ...

    @property
    def codec(self) -> ResultCodec:
        """Reads results."""
        ...

    @property
    def read_retries(self) -> float:
        """How often looking at a result is tried again while the backend is away."""
        ...


# Set once, by the composition root: results made without an app look through the current one.
_default: Callable[[], ResultSource] | None = None


def look_through(default: Callable[[], ResultSource]) -> None:
    """Say where results that were made without an app are read from."""
    global _default  # noqa: PLW0603 - set once
    _default = default


def default_source() -> ResultSource | None:
    """Where results that were made without an app are read from; None: nowhere."""
    return None if _default is None else _default()


async def load_meta(source: ResultSource, ids: Sequence[str]) -> dict[str, ResultMeta]:
    """What is stored about the tasks now; unknown ids are absent.

    Raises:
        BackendUnavailable: As often as it may be tried.
    """

    async def load() -> dict[str, ResultRecord]:
        backend = await source.connections.backend()
        return await backend.load(ids)

    retries = source.read_retries
    records = await (Outage(retries=retries).survive(load) if retries else load())
    return {task_id: source.codec.read(record) for task_id, record in records.items()}


async def wait_for(
    source: ResultSource,
    task_id: str,
    timeout: float | None,
    interval: float = 0.5,
    on_message: OnMessage | None = None,
    on_interval: Callable[[], object] | None = None,
    parents: Collection[str] = (),
) -> ResultMeta:
    """The task's result, once it is ready; or that of one of its ``parents`` which has failed, or
    was revoked: then the task never starts. A backend that has been reached before, and is away
    now, is waited for.

    Args:
        timeout: Seconds; None: for ever.
        interval: Seconds between calls of ``on_interval``; results do not wait for it.

    Raises:
        TimeoutError: It was not ready in time.
        BackendUnavailable: The backend was never reached, or, without a timeout, is away for long.
    """
    # Needed only where somebody waits; costs 40 ms to import.
    import asyncio

    outage = Outage(patience=None if timeout is None else inf)
    waiting = _ready(source, task_id, on_message, outage, frozenset(parents))
    if timeout is None and on_interval is None:
        return await waiting
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await (_ticking(waiting, interval, on_interval) if on_interval else waiting)
    except TimeoutError:
        if not limit.expired():
            # Not ours: a callback's, or a server's.
            raise
        message = f"The operation timed out: task {task_id!r} was not ready in {timeout} s."
        raise ResultTimeout(message + outage.sentence) from outage.error


async def _ready(
    source: ResultSource,
    task_id: str,
    on_message: OnMessage | None,
    outage: Outage,
    parents: frozenset[str],
) -> ResultMeta:
    # Not survived: a backend that was never reached may have a wrong address.
    backend = await source.connections.backend()

    async def attempt() -> ResultMeta:
        return await _first_ready(backend, source, task_id, on_message, outage, parents)

    return await outage.survive(attempt)


async def _first_ready(
    backend: ResultBackend,
    source: ResultSource,
    task_id: str,
    on_message: OnMessage | None,
    outage: Outage,
    parents: frozenset[str],
) -> ResultMeta:
    async with backend.watch([*parents, task_id]) as changes:
        outage.answered()
        async for records in changes:
            for record in records if parents else ():
                if record.id in parents and record.state in PROPAGATE_STATES:
                    return source.codec.read(record)
            for record in records:
                if record.id in parents:
                    continue
                meta = _seen(source, record, on_message)
                if meta is not None:
                    return meta
    message = f"the result backend stopped watching task {task_id!r} before it was ready"
    raise ResultTimeout(message)


def _seen(
    source: ResultSource, record: ResultRecord, on_message: OnMessage | None
) -> ResultMeta | None:
    if on_message is None and record.state not in READY_STATES:
        return None
    meta = source.codec.read(record)
    if on_message is not None:
        on_message(meta.as_document())
    return meta if meta.status in READY_STATES else None


async def _ticking(
    work: Coroutine[Any, Any, T], interval: float, on_interval: Callable[[], object]
) -> T:
    # See wait_for.
    import asyncio

    working = asyncio.create_task(work)
    try:
        while not (await asyncio.wait([working], timeout=interval))[0]:
            on_interval()
        return working.result()
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
