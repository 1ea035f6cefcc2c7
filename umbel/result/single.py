"""The result of one task: ``AsyncResult``, ``EagerResult``.

Source:
    Celery reference, ``celery.result``: names, arguments, tuple forms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from umbel.exceptions import ImproperlyConfigured
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result.blocking import assert_will_not_block
from umbel.result.waiting import OnMessage, ResultSource, default_source, load_meta, wait_for
from umbel.states import FAILURE, PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from datetime import datetime

    from umbel.wire.results import ResultMeta

__all__ = ["AsyncResult", "EagerResult", "ResultBase", "result_from_tuple"]

R = TypeVar("R")


class ResultBase:
    """What all results have: a parent."""

    parent: ResultBase | None = None


class AsyncResult(ResultBase, Generic[R]):
    """What became of one task, by its id: ask, wait, or ``await`` it.

    Making one costs nothing and asks nobody; ids that no task ever had look like tasks that
    wait.
    """

    TimeoutError = ResultTimeout

    def __init__(
        self,
        id: str,
        backend: object = None,
        task_name: str | None = None,
        app: ResultSource | None = None,
        parent: ResultBase | None = None,
    ) -> None:
        """Look at task ``id`` through ``app``, the current app by default.

        Args:
            backend: Accepted for Celery's sake; results are read from the app's backend.
        """
        if not id:
            message = f"AsyncResult requires valid id, not {id!r}"
            raise ValueError(message)
        self.id = id
        self.backend = backend
        self.app = app
        self.parent = parent
        self._name = task_name
        # The final state; once there it is never asked for again.
        self._final: ResultMeta | None = None

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    @task_id.setter
    def task_id(self, value: str) -> None:
        self.id = value
        self._final = None

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, R], object] | None = None,
        on_message: OnMessage | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        **_: object,
    ) -> R:
        """Wait until the task has ended; return its value or raise its exception.

        Args:
            timeout: Seconds; None: for ever.
            propagate: Whether a failed task's exception is raised here; otherwise it is returned.
            interval: Seconds between calls of ``on_interval``. Results arrive by themselves.
            no_ack: Accepted for Celery's sake.
            follow_parents: Whether a failure of a task earlier in the chain is raised here.
            callback: Called with the id and the value.
            on_message: Called with each state seen on the way, as a ``celery-task-meta`` dict.
            disable_sync_subtasks: Whether waiting inside a task is refused.

        Raises:
            TimeoutError: The result was not there in time.
            RuntimeError: Called inside a task, without :func:`allow_join_result`.
            Exception: What the task raised.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._final is None:
            self._final = self._source().portal.call(
                self._wait, timeout, interval, follow_parents and propagate, on_message, on_interval
            )
        return self._finish(self._final, propagate=propagate, callback=callback)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        *,
        propagate: bool = True,
        follow_parents: bool = True,
        on_message: OnMessage | None = None,
    ) -> R:
        """:meth:`get`, without blocking the running loop. ``await result`` is the same."""
        if self._final is None:
            self._final = await self._wait(
                timeout, 0.5, follow_parents and propagate, on_message, None
            )
        return self._finish(self._final, propagate=propagate)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    async def _wait(
        self,
        timeout: float | None,
        interval: float,
        follow_parents: bool,
        on_message: OnMessage | None,
        on_interval: Callable[[], object] | None,
    ) -> ResultMeta:
        source = self._source()
        if follow_parents:
            await self._raise_of_parents(source)
        return await wait_for(source, self.id, timeout, interval, on_message, on_interval)

    async def _raise_of_parents(self, source: ResultSource) -> None:
        parents = [node.id for node in self._parents() if isinstance(node, AsyncResult)]
        if parents:
            for meta in (await load_meta(source, parents)).values():
                if meta.status in PROPAGATE_STATES:
                    _raise(meta)

    def _finish(
        self,
        meta: ResultMeta,
        *,
        propagate: bool,
        callback: Callable[[str, R], object] | None = None,
    ) -> R:
        if propagate and meta.status in PROPAGATE_STATES:
            _raise(meta)
        value = cast("R", meta.result)
        if callback is not None:
            callback(self.id, value)
        return value

    # -- looking

    @property
    def state(self) -> str:
        """The state now: PENDING, STARTED, RETRY, FAILURE, SUCCESS, REVOKED, or a custom one."""
        return self._meta().status

    @property
    def status(self) -> str:
        """The same as :attr:`state`."""
        return self._meta().status

    @property
    def result(self) -> Any:
        """The value, or the exception, or what a custom state was given."""
        return self._meta().result

    @property
    def info(self) -> Any:
        """The same as :attr:`result`."""
        return self._meta().result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task, as text."""
        return self._meta().traceback

    @property
    def children(self) -> list[ResultBase] | None:
        """The results of the tasks that this one sent, once it has ended."""
        children = self._meta().children
        if children is None:
            return None
        return [result_from_tuple(child, self.app) for child in children]

    @property
    def date_done(self) -> datetime | None:
        """When the task ended, UTC."""
        return self._meta().date_done

    @property
    def name(self) -> str | None:
        """The task's name; known with ``result_extended``."""
        return self._meta().name or self._name

    @property
    def args(self) -> Any:
        """The task's arguments; known with ``result_extended``."""
        return self._meta().args

    @property
    def kwargs(self) -> Any:
        """The task's keyword arguments; known with ``result_extended``."""
        return self._meta().kwargs

    @property
    def worker(self) -> str | None:
        """The worker that ran the task; known with ``result_extended``."""
        return self._meta().worker

    @property
    def retries(self) -> int | None:
        """How often the task was tried again; known with ``result_extended``."""
        return self._meta().retries

    @property
    def queue(self) -> str | None:
        """The queue the task came from; known with ``result_extended``."""
        return self._meta().queue

    def ready(self) -> bool:
        """Whether the task has ended, well or badly."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether the task has ended well."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Whether the task has failed."""
        return self.state == FAILURE

    def exists(self) -> bool:
        """Whether anything is stored about the task."""
        return self.id in self._source().portal.call(load_meta, self._source(), [self.id])

    async def astate(self) -> str:
        """:attr:`state`, without blocking the running loop."""
        return (await self._ameta()).status

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, R], object] | None = None
    ) -> Any:
        """Raise the task's exception if it has failed; return what is there otherwise."""
        return self._finish(self._meta(), propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Delete the stored result."""
        self._final = None
        self._source().portal.call(self._forget)

    async def aforget(self) -> None:
        """:meth:`forget`, without blocking the running loop."""
        self._final = None
        await self._forget()

    async def _forget(self) -> None:
        backend = await self._source().connections.backend()
        await backend.forget([self.id])

    def _meta(self) -> ResultMeta:
        if self._final is None:
            return self._source().portal.call(self._ameta)
        return self._final

    async def _ameta(self) -> ResultMeta:
        if self._final is not None:
            return self._final
        meta = (await load_meta(self._source(), [self.id])).get(self.id)
        if meta is None:
            return _pending(self.id)
        if meta.status in READY_STATES:
            self._final = meta
        return meta

    # -- the tree

    def _parents(self) -> Iterator[ResultBase]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """``((id, parent), None)``, for :func:`result_from_tuple`."""
        parent = cast("AsyncResult[Any] | None", self.parent)
        return (self.id, None if parent is None else parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """The ids of this task and its parents."""
        parents = [node.id for node in self._parents() if isinstance(node, AsyncResult)]
        return [self.id, *parents]

    def _source(self) -> ResultSource:
        source = self.app or default_source()
        if source is None:
            message = (
                f"cannot look up the result of task {self.id!r}: it was made without an app. "
                "Use app.AsyncResult(id)."
            )
            raise ImproperlyConfigured(message)
        return source

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __copy__(self) -> AsyncResult[R]:
        return AsyncResult(self.id, self.backend, self._name, self.app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        # The app does not travel: whoever unpickles looks through their own.
        return AsyncResult, (self.id, None, self._name, None, self.parent)


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in place (``apply``, ``task_always_eager``)."""

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._value = ret_value
        self._state = state
        self._traceback = traceback

    def get(  # type: ignore[override]  # there is nothing to wait for
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        **_: object,
    ) -> R:
        """The value; or the exception, raised or returned."""
        if disable_sync_subtasks:
            assert_will_not_block()
        if propagate and self._state in PROPAGATE_STATES:
            raise self._value if isinstance(self._value, Exception) else Exception(self._value)
        return cast("R", self._value)

    wait = get  # type: ignore[assignment]  # as above

    async def aget(self, timeout: float | None = None, *, propagate: bool = True, **_: object) -> R:
        """:meth:`get`."""
        return self.get(propagate=propagate, disable_sync_subtasks=False)

    def ready(self) -> bool:
        """True: it has run."""
        return True

    def forget(self) -> None:
        """Nothing is stored."""

    async def aforget(self) -> None:
        """Nothing is stored."""

    def exists(self) -> bool:
        """True: it has run."""
        return True

    def revoke(self, *_: object, **__: object) -> None:
        """Too late to revoke; the state says REVOKED from now on."""
        self._state = "REVOKED"

    def _meta(self) -> ResultMeta:
        # Result documents are read with msgspec, which a program that only defines tasks has.
        from umbel.wire.results import ResultMeta

        return ResultMeta(
            task_id=self.id,
            status=self._state,
            result=self._value,
            traceback=self._traceback,
            name=self._name,
        )

    async def _ameta(self) -> ResultMeta:
        return self._meta()

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __copy__(self) -> EagerResult[R]:
        return EagerResult(self.id, self._value, self._state, self._traceback, self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return EagerResult, (self.id, self._value, self._state, self._traceback, self._name)


def result_from_tuple(r: Any, app: ResultSource | None = None) -> ResultBase:
    """The result that ``as_tuple`` described; a result is returned as it is.

    Raises:
        ValueError: ``r`` is not of the form ``((id, parent), children)``.
    """
    if isinstance(r, ResultBase):
        return r
    head: Any
    members: Any
    task_id: Any
    parent: Any
    try:
        head, members = r
        task_id, parent = (head, None) if isinstance(head, str) else head
    except (TypeError, ValueError):
        message = f"cannot make a result of {r!r}: expected ((id, parent), None)"
        raise ValueError(message) from None
    if members is not None:
        message = f"cannot make a result of {r!r}: groups come with the workflows release"
        raise ValueError(message)
    above = result_from_tuple(parent, app) if parent else None
    return AsyncResult[Any](str(task_id), app=app, parent=above)


def _pending(task_id: str) -> ResultMeta:
    # See EagerResult._meta.
    from umbel.wire.results import ResultMeta

    return ResultMeta(task_id=task_id, status=PENDING, result=None)


def _raise(meta: ResultMeta) -> None:
    error = meta.result
    if not isinstance(error, BaseException):
        error = Exception(error)
    if meta.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"In the worker:\n{meta.traceback}")
    raise error
