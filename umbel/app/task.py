"""Tasks: what ``@app.task`` makes, and the base of class-based ones.

Source:
    Celery reference, ``celery.app.task``: attributes, methods, handlers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast

from umbel.app import current
from umbel.app.composable import Composable
from umbel.app.configuring.options import FromConfig, resolve
from umbel.app.sending.arguments import ArgumentCheck, complete
from umbel.app.sending.calls import Defaults, adopt, defaults_of, make_call, result_of
from umbel.app.sending.ids import new_id
from umbel.app.sending.in_place import run_in_place
from umbel.app.sending.overridden import Gathered, gather, is_overridden
from umbel.exceptions import MaxRetriesExceededError, OperationalError
from umbel.execution import context
from umbel.execution.context import Context
from umbel.execution.retries import retry
from umbel.result import AsyncResult, EagerResult, denied_join_result
from umbel.wire.call import Call

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.execution.runnable import TaskOptions

__all__ = ["BaseTask", "Context", "Task"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_KEYWORDS: Mapping[str, object] = {}


class Task(Composable, Generic[P, R]):
    """A function that can be called here, or sent to a worker.

    ``@app.task`` makes one of a function; a subclass with a ``run`` method is registered with
    ``app.register_task(MyTask())``. There is one instance per process and app, so what a task
    keeps on ``self`` stays between runs.

    Attributes that are not set here or by the decorator follow the app's settings.
    """

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    name: str = ""
    """Unique in the app; made from module and function if not given."""
    abstract: ClassVar[bool] = True
    max_retries: int | None = 3
    """Repetitions after the first try; None: for ever."""
    default_retry_delay: float = 180.0
    """Seconds before a retry that does not say otherwise."""
    rate_limit: Any = FromConfig("task_default_rate_limit")
    ignore_result: Any = FromConfig("task_ignore_result")
    trail: bool = True
    typing: bool | None = None
    """Whether arguments are checked when the task is called; None: as the app says."""
    send_events: bool = True
    store_errors_even_if_ignored: Any = FromConfig("task_store_errors_even_if_ignored")
    store_eager_result: Any = FromConfig("task_store_eager_result")
    serializer: Any = FromConfig("task_serializer")
    compression: Any = FromConfig("task_compression")
    time_limit: Any = FromConfig("task_time_limit")
    soft_time_limit: Any = FromConfig("task_soft_time_limit")
    track_started: Any = FromConfig("task_track_started")
    acks_late: Any = FromConfig("task_acks_late")
    acks_on_failure_or_timeout: Any = FromConfig("task_acks_on_failure_or_timeout")
    acks_on_failure: Any = FromConfig("task_acks_on_failure")
    acks_on_timeout: Any = FromConfig("task_acks_on_timeout")
    reject_on_worker_lost: Any = FromConfig("task_reject_on_worker_lost")
    retry_on_worker_lost: Any = FromConfig("task_retry_on_worker_lost")
    priority: Any = FromConfig("task_default_priority")
    throws: Any = ()
    """Exceptions that are expected: logged at INFO, without a traceback."""
    expires: Any = None
    """Seconds after which a message of this task is not worth running."""
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    delivery_mode: Any = None
    resultrepr_maxsize: int = 1024
    autoretry_for: Any = ()
    dont_autoretry_for: Any = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: float | bool = False
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True

    _app: Umbel | None = None
    # Derived, and dropped whenever an attribute or a setting changes.
    _options: TaskOptions | None = None
    # With what they were made of: the options, and the process.
    _defaults: tuple[TaskOptions, int, Defaults] | None = None
    _configured: object = None
    _shadows: bool = False
    _check: ArgumentCheck | None = None

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if not name.startswith("_"):
            object.__setattr__(self, "_configured", None)

    # -- what it belongs to

    @property
    def app(self) -> Umbel:
        """The app it is registered with; the current one before that."""
        return self._app or current.get_current_app()

    def bind(self, app: Umbel) -> None:
        """Make it a task of ``app``."""
        self._app = app
        self.on_bound(app)

    def on_bound(self, app: Umbel) -> None:
        """Called when the task becomes one of ``app``."""

    @property
    def options(self) -> TaskOptions:
        """The options, resolved against the app's settings as they are now."""
        version = (self._app or self.app).conf.version
        if self._configured is not version or self._options is None:
            object.__setattr__(self, "_options", resolve(self))
            method = getattr(self.shadow_name, "__func__", None)
            object.__setattr__(self, "_shadows", method is not _OWN["shadow_name"])
            object.__setattr__(self, "_configured", version)
        return cast("TaskOptions", self._options)

    # -- running

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; given by the decorated function or a subclass."""
        raise NotImplementedError("Tasks must define the run method.")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and now, as an ordinary function."""
        return cast("R", context.call_directly(self, self.run, args, kwargs))

    @property
    def entry(self) -> Callable[..., Any]:
        """What to call with the arguments: ``run``, or ``__call__`` where it is overridden."""
        return self.run if type(self).__call__ is _OWN["__call__"] else self.__call__

    @property
    def is_coroutine(self) -> bool:
        """Whether the task is an ``async def`` function."""
        # Only asked where tasks run; costs 15 ms to import.
        from inspect import iscoroutinefunction

        return iscoroutinefunction(self.run)

    @property
    def request(self) -> Context:
        """The call that is running: its id, arguments, retries and everything that came along."""
        return context.of(self)

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a request of these fields the current one, until :meth:`pop_request`."""
        context.push(self, Context(*args, **kwargs))

    def pop_request(self) -> Context | None:
        """Undo :meth:`push_request`."""
        return context.pop()

    def retry(
        self,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Exception:
        """Try this call again later: ``raise self.retry()``.

        Args:
            exc: What went wrong; raised when there are no more retries.
            throw: Whether to raise ``Retry`` here, which ends this try.
            countdown: Seconds until the next try; ``default_retry_delay`` by default.
            max_retries: Instead of the task's own.
            options: As for :meth:`apply_async`.

        Raises:
            Retry: The next try has been asked for.
            MaxRetriesExceededError: It has been tried often enough, and there is no ``exc``.
        """
        return retry(self, args, kwargs, exc, throw, eta, countdown, max_retries, options)

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **_: object,
    ) -> None:
        """Store a state of one's own, for example ``state="PROGRESS", meta={"done": 3}``."""
        context.update_state(self, task_id, state, meta, self.app.tools)

    def send_event(self, type_: str, **fields: Any) -> None:
        """Send an event of one's own, for example ``task-halfway``, with the id of this run."""
        told: dict[str, Any] = {"uuid": self.request.id, **fields}
        hostname = self.request.hostname
        with self.app.events.default_dispatcher(hostname=hostname) as dispatcher:
            dispatcher.send(type_, **told)

    # -- calling

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task to a worker."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """:meth:`delay`, without blocking the running loop."""
        return await self.aapply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: object = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send the task to a worker, with options.

        Args:
            task_id: Instead of a random one.
            producer: Accepted for Celery's sake.
            link: Signatures to call with the result.
            link_error: Signatures to call when the task fails.
            shadow: Another name, for logs.
            options: ``countdown`` and ``eta`` (when), ``expires`` (until when), ``queue``,
                ``exchange``, ``routing_key``, ``priority`` (where), ``serializer``,
                ``compression``, ``headers``, ``time_limit``, ``soft_time_limit``,
                ``ignore_result``, ``retry``, ``retry_policy``, and Celery's other ones.

        Raises:
            TypeError: The function would not take these arguments.
            EncodeError: An argument cannot be serialized.
            OperationalError: The broker cannot be reached.
        """
        call = self._call(args, kwargs, task_id, link, link_error, shadow, options)
        app = self._app or self.app
        if app.conf.task_always_eager:
            return self._instead(call, options)
        if isinstance(producer, Gathered):
            producer.calls.append(call)
            return result_of(call, app)
        app.portal.call(app.producer.send, (call,), app.publish_policy(options, (call,)))
        return self._sent(app, call, options)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """:meth:`apply_async`, without blocking the running loop; an override of that has its
        say."""
        app = self.app
        if self.has_own_way and not app.conf.task_always_eager:
            named = {"task_id": task_id, "link": link, "link_error": link_error, "shadow": shadow}
            given = {name: value for name, value in named.items() if value is not None}
            result, calls = gather(self.apply_async, args or (), kwargs or {}, {**options, **given})
            await app.producer.send(calls, app.publish_policy(options, calls))
            return cast("AsyncResult[R]", result)
        call = self._call(args, kwargs, task_id, link, link_error, shadow, options)
        if app.conf.task_always_eager:
            return self._instead(call, options)
        await app.producer.send((call,), app.publish_policy(options, (call,)))
        return self._sent(app, call, options)

    def apply_many(self, calls: Iterable[Sequence[Any]], **options: Any) -> list[AsyncResult[R]]:
        """Send many calls in few round trips: one tuple of arguments for each.

        >>> add.apply_many([(1, 1), (2, 2)])  # doctest: +SKIP
        [<AsyncResult: ...>, <AsyncResult: ...>]

        Raises:
            BatchError: The broker refused some; ``errors`` says which.
            OperationalError: The broker cannot be reached; some may have been sent.
        """
        made = self._calls(calls, options)
        app = self.app
        if app.conf.task_always_eager:
            return [self._instead(call, options) for call in made]
        app.portal.call(app.producer.send, made, app.publish_policy(options, made))
        return self._all_sent(made, options)

    async def aapply_many(
        self, calls: Iterable[Sequence[Any]], **options: Any
    ) -> list[AsyncResult[R]]:
        """:meth:`apply_many`, without blocking the running loop."""
        made = self._calls(calls, options)
        app = self.app
        if app.conf.task_always_eager:
            return [self._instead(call, options) for call in made]
        await app.producer.send(made, app.publish_policy(options, made))
        return self._all_sent(made, options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the task here and now, as a worker would, and return its finished result.

        Args:
            throw: Whether a failure is raised; ``task_eager_propagates`` by default.
        """
        options = {**options, "headers": headers, "retries": retries or 0}
        call = self._call(args, kwargs, task_id, link, link_error, None, options)
        return run_in_place(self, call, throw=throw, serialize=False)

    # Static: looking up the app once more would cost every call.
    @staticmethod
    def _sent(app: Umbel, call: Call, options: Mapping[str, Any]) -> AsyncResult[Any]:
        result: AsyncResult[Any] = result_of(call, app)
        if context.current() is not None:
            adopt((result,), options)
        return result

    def _all_sent(self, calls: Sequence[Call], options: Mapping[str, Any]) -> list[AsyncResult[R]]:
        app = self.app
        results: list[AsyncResult[R]] = [result_of(call, app) for call in calls]
        adopt(results, options)
        return results

    def _calls(self, calls: Iterable[Sequence[Any]], options: Mapping[str, Any]) -> list[Call]:
        if self.has_own_way:
            return [call for args in calls for call in self.calls_of(args, {}, options)]
        resolved = self.options
        decided = not options and resolved.expires is None and not self._shadows
        defaults = self._call_defaults(resolved)
        if not decided or defaults.undecided or context.current() is not None:
            return [self._call(args, None, None, None, None, None, options) for args in calls]
        check = self._check or self._argument_check()
        made: list[Call] = []
        for args in calls:
            if args.__class__ is not tuple:
                args, _ = complete(args, None)  # noqa: PLW2901 - the same, in another form
            if resolved.typing:
                check(args, _NO_KEYWORDS)
            made.append(Call(id=new_id(), args=args, **defaults))
        return made

    def _call_defaults(self, resolved: TaskOptions) -> Defaults:
        kept, pid = self._defaults, os.getpid()
        if kept is None or kept[0] is not resolved or kept[1] != pid:
            kept = resolved, pid, defaults_of(self.app, self.name, resolved)
            object.__setattr__(self, "_defaults", kept)
        return kept[2]

    def _call(
        self,
        # Any: whether they are a sequence and a mapping is seen here.
        args: Any,
        kwargs: Any,
        task_id: str | None,
        link: Any,
        link_error: Any,
        shadow: str | None,
        options: Mapping[str, Any],
    ) -> Call:
        if args.__class__ is not tuple or kwargs.__class__ is not dict:
            args, kwargs = complete(args, kwargs)
        resolved = self.options
        if resolved.typing:
            check = self._check
            if check is None:
                check = self._argument_check()
            check(args, kwargs)
        defaults = self._call_defaults(resolved)
        if self._shadows and not shadow:
            shadow = self.shadow_name(args, kwargs, options)
        if task_id or link or link_error or shadow:
            options = {
                **options,
                "task_id": task_id,
                "link": link,
                "link_error": link_error,
                "shadow": shadow,
            }
        return make_call(self._app or self.app, defaults, args, kwargs, options, resolved.expires)

    @property
    def has_own_way(self) -> bool:
        """Whether :meth:`apply_async` is overridden, here or, by a package, in all tasks."""
        return is_overridden(self.apply_async, _APPLY_ASYNC)

    def calls_of(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> list[Call]:
        """What :meth:`apply_async` would send."""
        if self.has_own_way:
            return gather(self.apply_async, args, kwargs, options)[1]
        return [self._call(args, kwargs, None, None, None, None, options)]

    def _argument_check(self) -> ArgumentCheck:
        function = getattr(self.run, "__func__", None)
        check = ArgumentCheck(function or self.run, bound=function is not None)
        object.__setattr__(self, "_check", check)
        return check

    def _instead(self, call: Call, options: Mapping[str, Any]) -> EagerResult[R]:
        """Run the call eagerly where it would be sent; waiting in it is as wrong as in a worker."""
        with denied_join_result():
            return run_in_place(self, call, throw=options.get("throw"))

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802
        """The result of a call of this task, by its id."""
        return AsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def shadow_name(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str | None:
        """Another name for logs, or None; to be overridden."""

    @property
    def __name__(self) -> str:
        return str(self.__dict__.get("__name__", type(self).__name__))

    def __repr__(self) -> str:
        app = self.app
        return f"<@task: {self.name} of {app.main or '__main__'} at {id(app):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _task_named, (self.name,)


BaseTask = Task

# Whatever a package puts in its place later.
_APPLY_ASYNC: object = vars(Task)["apply_async"]

# What nobody has overridden.
_OWN: Mapping[str, Any] = dict(vars(Task))


def _task_named(name: str) -> Task[..., Any]:
    return current.get_current_app().tasks[name]
