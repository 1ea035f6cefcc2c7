"""The result of one task: ``AsyncResult``.

Source:
    Celery reference, ``celery.result``: names, arguments, tuple forms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from umbel.exceptions import ImproperlyConfigured, WorkerLostError
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result.base import ResultBase, result_from_tuple, stands_for
from umbel.result.blocking import assert_will_not_block
from umbel.result.callbacks import Callbacks
from umbel.result.revoking import revoke, revoke_stamped
from umbel.result.trees import Tree
from umbel.result.waiting import OnMessage, ResultSource, default_source, load_meta, wait_for
from umbel.states import FAILURE, PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from datetime import datetime

    from umbel.wire.results import ResultMeta

__all__ = ["AsyncResult", "predecessors", "raise_failure"]

R = TypeVar("R")


class AsyncResult(Tree, Generic[R]):
    """What became of one task, by its id: ask, wait, or ``await`` it.

    Making one costs nothing and asks nobody; ids that no task ever had look like tasks that
    wait.
    """

    id: str
    TimeoutError = ResultTimeout
    supports_native_join = True
    """Results are never polled for."""
    ignored = False
    """Whether nothing is kept of what the task returns: :meth:`get` returns None at once."""
    # A group may have a hundred thousand of them: what few have is not set on each.
    _callbacks: Callbacks | None = None
    _backend: Any = None

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
        if backend is not None:
            self._backend = backend
        self.app = app
        self.parent = parent
        self._name = task_name
        # The final state; once there it is never asked for again.
        self._final: ResultMeta | None = None

    @property
    def backend(self) -> Any:
        """The app's result backend, under Celery's names."""
        return self._backend if self._backend is not None else self._source().backend

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
        if self.ignored:
            return cast("R", None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._final is None:
            self.settle(
                self._source().portal.call(
                    self._wait,
                    timeout,
                    interval,
                    follow_parents and propagate,
                    on_message,
                    on_interval,
                )
            )
        return self._finish(self._meta(), propagate=propagate, callback=callback)

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
        if self.ignored:
            return cast("R", None)
        if self._final is None:
            self.settle(
                await self._wait(timeout, 0.5, follow_parents and propagate, on_message, None)
            )
        return self._finish(await self._ameta(), propagate=propagate)

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
        parents = predecessors(self) if follow_parents and self.parent is not None else ()
        source = self._source()
        meta = await wait_for(source, self.id, timeout, interval, on_message, on_interval, parents)
        if meta.task_id != self.id:
            raise_failure(meta)
        return meta

    def _finish(
        self,
        meta: ResultMeta,
        *,
        propagate: bool,
        callback: Callable[[str, R], object] | None = None,
    ) -> R:
        if propagate and meta.status in PROPAGATE_STATES:
            raise_failure(meta)
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
            self.settle(meta)
        return meta

    # Not documented, but what packages for Celery show progress by.
    def _get_task_meta(self) -> dict[str, Any]:
        return self._meta().as_document()

    def leaves(self) -> Iterator[AsyncResult[Any]]:
        """Itself."""
        yield self

    def settle(self, meta: ResultMeta) -> None:
        """Take in how the task ended, from whoever has seen it; that does not change any more."""
        self._final = meta
        if self._callbacks is not None:
            self._callbacks.fire(self)

    def known(self) -> ResultMeta | None:
        """How the task ended, if that is known without asking."""
        return self._final

    # -- acting

    def then(
        self,
        callback: Callable[[AsyncResult[R]], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R]:
        """Have ``callback`` called with this result by whoever finds that the task has ended.

        Results do not wait by themselves: it is called inside :meth:`get`, :meth:`ready` and the
        like, here or in a group that this is a member of; at once when the end is known already.

        Args:
            on_error: Called with the exception that ``callback`` raises.
            weak: Whether the callback is dropped when nobody else holds it.
        """
        if self._callbacks is None:
            self._callbacks = Callbacks()
        self._callbacks.add(callback, on_error, weak=weak)
        if self.known() is not None:
            self._callbacks.fire(self)
        return self

    def throw(self, error: BaseException, *, propagate: bool = True) -> None:
        """Give up what :meth:`then` promised: tell every ``on_error``, and raise ``error``."""
        if self._callbacks is not None:
            self._callbacks.throw(error)
        if propagate:
            raise error

    def revoke(
        self,
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run the task.

        Args:
            connection: Accepted for Celery's sake.
            terminate: Whether it is stopped if it runs already.
            signal: By which signal; TERM by default.
            wait: Whether to wait for the workers' replies, which are returned.
            timeout: Seconds to wait for them.
        """
        return revoke(self._source(), [self.id], terminate, signal, wait, timeout)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run tasks with these stamps; arguments as :meth:`revoke`."""
        return revoke_stamped(self._source(), headers, terminate, signal, wait, timeout)

    def as_list(self) -> list[str]:
        """The ids of this task and its parents."""
        return [self.id, *predecessors(self)]

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
        return AsyncResult(self.id, self._backend, self._name, self.app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        # The app does not travel: whoever unpickles looks through their own.
        return AsyncResult, (self.id, None, self._name, None, self.parent)


def _pending(task_id: str) -> ResultMeta:
    # See EagerResult._meta.
    from umbel.wire.results import ResultMeta

    return ResultMeta(task_id=task_id, status=PENDING, result=None)


def predecessors(result: ResultBase) -> list[str]:
    """The ids of the tasks in the chain that ``result`` is the end of, the last one first.

    Not the members of a chord's header: if one of them fails, its body does.
    """
    return [node.id for node in result.lineage() if isinstance(node, AsyncResult)]


def raise_failure(meta: ResultMeta) -> None:
    """Raise the exception that a task ended with, with the worker's traceback as a note.

    What would end or cancel whoever waits (``SystemExit``, ``KeyboardInterrupt``, asyncio's
    ``CancelledError`` and the like) is the cause of a :class:`WorkerLostError` instead.
    """
    error = meta.result
    if not isinstance(error, BaseException):
        error = Exception(error)
    if _ends_the_reader(error):
        lost = WorkerLostError(f"The task raised {error!r}.")
        lost.__cause__, error = error, lost
    if meta.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"In the worker:\n{meta.traceback}")
    raise error


def _ends_the_reader(error: BaseException) -> bool:
    if isinstance(error, Exception):
        return False
    # By name: asyncio is not imported for this.
    return isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit) or (
        type(error).__name__ == "CancelledError"
    )


def _of_tuple(
    id: str, *, members: list[ResultBase], parent: ResultBase | None, app: Any
) -> ResultBase:
    del members
    return AsyncResult[Any](id, app=app, parent=parent)


stands_for("task", _of_tuple)
