"""Results of many tasks as one: ``ResultSet``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from umbel.exceptions import ImproperlyConfigured
from umbel.result.base import ResultBase
from umbel.result.blocking import assert_will_not_block
from umbel.result.callbacks import Callbacks
from umbel.result.gathering import LOADED_AT_ONCE, Gathering
from umbel.result.revoking import revoke
from umbel.result.single import AsyncResult, predecessors, raise_failure
from umbel.result.trees import look, states_of
from umbel.result.waiting import OnMessage, ResultSource, default_source
from umbel.states import FAILURE, PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from umbel.wire.results import ResultMeta

__all__ = ["ResultSet"]

Member = AsyncResult[Any]


class ResultSet(ResultBase):
    """Any number of results; members may be groups.

    Whatever is asked of all of them is asked of the result backend at once.
    """

    supports_native_join = True
    """Results are never polled for: :meth:`get` is :meth:`join_native`."""

    def __init__(
        self,
        results: Iterable[ResultBase] | None,
        app: ResultSource | None = None,
        ready_barrier: object = None,
        **_: object,
    ) -> None:
        """Make one.

        Args:
            results: A list is kept as it is, and shared with the caller.
            ready_barrier: Accepted for Celery's sake.
        """
        self.results: list[Any] = results if isinstance(results, list) else [*(results or ())]
        self._app = app
        self._callbacks: Callbacks | None = None

    # -- members

    def add(self, result: ResultBase) -> None:
        """Make it a member, if it is none."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: ResultBase | str) -> None:
        """Make it, or the one of that id, no member.

        Raises:
            KeyError: It is none.
        """
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: ResultBase | str) -> None:
        """:meth:`remove` it if it is a member."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[ResultBase]) -> None:
        """Make all of them members."""
        known = set(self.results)
        for result in results:
            if result not in known:
                known.add(result)
                self.results.append(result)

    def clear(self) -> None:
        """Have no members."""
        self.results.clear()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return self.results == other.results
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # members come and go

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{self._ids()}]>"

    def _ids(self) -> str:
        return ", ".join(str(result.id) for result in self.results)

    @property
    def app(self) -> ResultSource | None:
        """Where the results are read from: the first member's, or the current app."""
        if self._app is None:
            first = next(self.leaves(), None)
            self._app = (first.app if first is not None else None) or default_source()
        return self._app

    @app.setter
    def app(self, value: ResultSource | None) -> None:
        self._app = value

    @property
    def backend(self) -> Any:
        """What the app calls its result backend."""
        return getattr(self._source(), "backend", None)

    def leaves(self) -> Iterator[Member]:
        """The tasks in it, those in member groups too."""
        for result in self.results:
            yield from result.leaves()

    # -- looking

    def successful(self) -> bool:
        """Whether all have ended well."""
        return all(state == SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Whether any has failed."""
        return any(state == FAILURE for state in self._states())

    def waiting(self) -> bool:
        """Whether any has not ended."""
        return not self.ready()

    def ready(self) -> bool:
        """Whether all have ended, well or badly."""
        return READY_STATES.issuperset(self._states())

    def completed_count(self) -> int:
        """How many members have ended well."""
        return self._count(self._look())

    async def aready(self) -> bool:
        """:meth:`ready`, without blocking the running loop."""
        return READY_STATES.issuperset(states_of(self, await self._alook(), PENDING))

    async def acompleted_count(self) -> int:
        """:meth:`completed_count`, without blocking the running loop."""
        return self._count(await self._alook())

    def maybe_throw(
        self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True
    ) -> None:
        """Raise the exception of a member that has failed, if there is one; call ``callback`` with
        the id and value of those before it."""
        self._look()
        for leaf in self.leaves():
            leaf.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def _states(self) -> Iterator[str]:
        return states_of(self, self._look(), PENDING)

    def _look(self) -> dict[str, str]:
        return self._source().portal.call(self._alook) if self.results else {}

    async def _alook(self) -> dict[str, str]:
        states = await look(self._source(), [self]) if self.results else {}
        self._tell()
        return states

    def _count(self, states: dict[str, str]) -> int:
        return sum(
            all(state == SUCCESS for state in states_of(member, states, PENDING))
            for member in self.results
        )

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """:meth:`join_native`."""
        return self.join_native(
            timeout,
            propagate,
            interval,
            callback,
            no_ack,
            on_message,
            on_interval,
            disable_sync_subtasks,
        )

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """:meth:`join_native`; but with a ``callback``, an empty list."""
        values = self.join_native(
            timeout,
            propagate,
            interval,
            callback,
            no_ack,
            on_message,
            on_interval,
            disable_sync_subtasks,
        )
        return [] if values is None else values

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any] | None:
        """Wait until all have ended; their values in the order of the members, those of a group
        as a list.

        Args:
            timeout: Seconds for all of them together; None: for ever.
            propagate: Whether the first failure is raised, at once; otherwise exceptions are
                among the values.
            interval: Seconds between calls of ``on_interval``. Results arrive by themselves.
            callback: Called with id and value of every task as it ends; nothing is returned then.
            no_ack: Accepted for Celery's sake.
            on_message: Called with each state seen on the way, as a ``celery-task-meta`` dict.
            disable_sync_subtasks: Whether waiting inside a task is refused.

        Raises:
            TimeoutError: Some were not ready in time.
            RuntimeError: Called inside a task, without :func:`allow_join_result`.
            Exception: What a member raised, or a task that came before the group.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        for metas in self._batches(timeout, interval, on_message, on_interval, propagate):
            for meta in metas:
                if callback is not None:
                    callback(meta.task_id, meta.result)
        return None if callback is not None else _values(self.results)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Id and ``celery-task-meta`` dict of every task, as they end; arguments and errors are
        those of :meth:`join_native`."""
        for metas in self._batches(timeout, interval, on_message, on_interval, propagate=False):
            for meta in metas:
                yield meta.task_id, meta.as_document()

    async def aget(
        self,
        timeout: float | None = None,
        *,
        propagate: bool = True,
        on_message: OnMessage | None = None,
    ) -> list[Any]:
        """:meth:`get`, without blocking the running loop. ``await results`` is the same."""
        async for _ in self._abatches(timeout, on_message, propagate):
            pass
        return _values(self.results)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.aget().__await__()

    async def __aiter__(self) -> AsyncIterator[Member]:
        """The results of all tasks, each as it ends: ``async for member in results``."""
        leaves_by_id: dict[str, list[Member]] = {}
        for leaf in self.leaves():
            leaves_by_id.setdefault(leaf.id, []).append(leaf)
        async for metas in self._abatches(None, None, propagate=False):
            for meta in metas:
                for leaf in leaves_by_id.pop(meta.task_id, ()):
                    yield leaf

    def _batches(
        self,
        timeout: float | None,
        interval: float,
        on_message: OnMessage | None,
        on_interval: Callable[[], object] | None,
        propagate: bool,
    ) -> Iterator[list[ResultMeta]]:
        waiting = _Waiting(self, propagate)
        yield waiting.known
        if not waiting.leaves_by_id:
            self._tell()
            return
        call = self._source().portal.call
        gathering = waiting.gathering(self._source(), timeout, on_message)
        call(gathering.open)
        try:
            while waiting.leaves_by_id:
                metas = call(gathering.more, interval if on_interval is not None else None)
                if metas:
                    yield waiting.take(metas)
                elif on_interval is not None:
                    on_interval()
        finally:
            call(gathering.close)
        self._tell()

    async def _abatches(
        self, timeout: float | None, on_message: OnMessage | None, propagate: bool
    ) -> AsyncIterator[list[ResultMeta]]:
        waiting = _Waiting(self, propagate)
        yield waiting.known
        if waiting.leaves_by_id:
            gathering = waiting.gathering(self._source(), timeout, on_message)
            await gathering.open()
            try:
                while waiting.leaves_by_id:
                    yield waiting.take(await gathering.more())
            finally:
                await gathering.close()
        self._tell()

    # -- acting

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> ResultSet:
        """Have ``callback`` called with this set by whoever finds that all have ended; see
        :meth:`umbel.result.AsyncResult.then`."""
        if self._callbacks is None:
            self._callbacks = Callbacks()
        self._callbacks.add(callback, on_error, weak=weak)
        self._tell()
        return self

    def forget(self) -> None:
        """Delete the stored results."""
        if self.results:
            self._source().portal.call(self.aforget)

    async def aforget(self) -> None:
        """:meth:`forget`, without blocking the running loop."""
        ids = [leaf.id for leaf in self.leaves()]
        backend = await self._source().connections.backend()
        for start in range(0, len(ids), LOADED_AT_ONCE):
            await backend.forget(ids[start : start + LOADED_AT_ONCE])

    def revoke(
        self,
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers to run none of the tasks, those in member groups included; arguments
        as :meth:`umbel.result.AsyncResult.revoke`."""
        ids = list(dict.fromkeys(leaf.id for leaf in self.leaves()))
        return revoke(self._source(), ids, terminate, signal, wait, timeout) if ids else None

    def _tell(self) -> None:
        if self._callbacks is not None and all(leaf.known() for leaf in self.leaves()):
            self._callbacks.fire(self)

    def _source(self) -> ResultSource:
        source = self.app
        if source is None:
            message = (
                f"cannot look up the results of {self!r:.200}: they were made without an app. "
                "Use app.GroupResult or app.ResultSet."
            )
            raise ImproperlyConfigured(message)
        return source


class _Waiting:
    """What one wait for a set is about: who has not ended, and whose failure ends it."""

    def __init__(self, whole: ResultSet, propagate: bool) -> None:
        self.known: list[ResultMeta] = []
        self.leaves_by_id: dict[str, list[Member]] = {}
        self._propagate = propagate
        for leaf in whole.leaves():
            meta = leaf.known()
            if meta is not None:
                self._check(meta)
                self.known.append(meta)
            else:
                self.leaves_by_id.setdefault(leaf.id, []).append(leaf)
        # If what came before a group has failed, the group never starts.
        self._parents = {
            cast("Member", leaf).id: cast("Member", leaf)
            for node in whole.lineage()
            for leaf in node.leaves()
            if propagate and leaf.known() is None
        }
        # If what came before a member has failed, that member never starts.
        self._before_members = {
            id_
            for leaves in self.leaves_by_id.values()
            if propagate and cast("ResultBase", leaves[0]).parent is not None
            for id_ in predecessors(cast("ResultBase", leaves[0]))
        }

    def gathering(
        self, source: ResultSource, timeout: float | None, on_message: OnMessage | None
    ) -> Gathering:
        """Waits for them, parents first."""
        ids = [*self._parents, *self.leaves_by_id]
        return Gathering(
            source, ids, beside=self._before_members, timeout=timeout, on_message=on_message
        )

    def take(self, metas: list[ResultMeta]) -> list[ResultMeta]:
        """Hand over what has ended to the results; those of members are returned.

        Raises:
            Exception: One has failed, and that was to be raised.
        """
        ours: list[ResultMeta] = []
        for meta in metas:
            for leaf in self.leaves_by_id.pop(meta.task_id, ()):
                leaf.settle(meta)
                ours.append(meta)
            self._check(meta)
        return ours

    def _check(self, meta: ResultMeta) -> None:
        if self._propagate and meta.status in PROPAGATE_STATES:
            raise_failure(meta)


def _values(results: Iterable[ResultBase]) -> list[Any]:
    values: list[Any] = []
    for result in results:
        if isinstance(result, ResultSet):
            values.append(_values(result.results))
        else:
            meta = cast("Member", result).known()
            values.append(None if meta is None else meta.result)
    return values
