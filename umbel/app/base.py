"""The application: configuration, tasks, and the way to broker and results.

Source:
    Celery reference, ``celery.app.base``: names, arguments, order of initialization.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from umbel.app import current, drivers
from umbel.app.annotations import annotate
from umbel.app.builtins import add_builtin_tasks
from umbel.app.calls import defaults_of, make_call
from umbel.app.connections import Connections
from umbel.app.decorators import TaskDecorators
from umbel.app.ids import new_id
from umbel.app.loaders import Loader
from umbel.app.portal import Portal
from umbel.app.producer import Producer, PublishPolicy
from umbel.app.registry import TaskRegistry
from umbel.app.router import Router
from umbel.app.settings import Settings
from umbel.app.task import Task
from umbel.app.zones import zone_of
from umbel.canvas.signature import Signature
from umbel.clock import LamportClock, SystemClock
from umbel.exceptions import AlwaysEagerIgnored
from umbel.execution import context
from umbel.execution.tools import Tools
from umbel.result import AsyncResult
from umbel.serialization import registry as serializers
from umbel.signals import Signal
from umbel.wire.results import ResultCodec

if TYPE_CHECKING:
    from umbel.app.log import Logging
    from umbel.model import Message, Queue, Request, ResultRecord
    from umbel.protocols import Broker, Clock, ResultBackend, Runner
    from umbel.wire.call import Call

__all__ = ["Celery", "Umbel", "finalized_apps"]

T = TypeVar("T")

_finalized: WeakSet[Umbel] = WeakSet()


def finalized_apps() -> list[Umbel]:
    """The apps that have been finalized and are still there."""
    return list(_finalized)


class Umbel(TaskDecorators):
    """An application; ``Celery`` is the same class under its familiar name.

    Making one does nothing: no module is read, no connection is opened. It reads its
    configuration when a setting is first needed, and is finalized when its tasks are.
    Thread-safe; any number of apps live in one process.
    """

    task_cls: type[Task[..., Any]] = Task

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: str | None = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Iterable[Task[..., Any]] | None = None,
        broker: str | None = None,
        include: str | Sequence[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Sequence[Any] | None = None,
        task_cls: type[Task[..., Any]] | None = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        *,
        clock: Clock | None = None,
        **kwargs: Any,
    ) -> None:
        """Make an app.

        Args:
            main: Takes the place of ``__main__`` in the names of tasks of a script.
            backend: ``result_backend``.
            broker: ``broker_url``.
            include: Modules that workers import.
            changes: Settings.
            config_source: As for :meth:`config_from_object`.
            set_as_current: Whether it becomes the current app of this thread.
            autofinalize: Whether touching :attr:`tasks` finalizes the app.
            strict_typing: Whether arguments are checked against the functions' signatures.
            clock: Wall and monotonic time.
            kwargs: More settings.
        """
        self.main = main
        self.project = _project_of(self, main)
        self.set_as_current = set_as_current
        self.strict_typing = strict_typing
        self.clock = LamportClock()
        self.wall_clock: Clock = clock or SystemClock()
        self.finalized = False
        self.autofinalize = autofinalize
        self.steps: dict[str, set[Any]] = {"worker": set(), "consumer": set()}
        self.user_options: dict[str, set[Any]] = {}
        if task_cls is not None:
            self.task_cls = task_cls
        # Guards everything that is made once: configuration, finalization.
        self._mutex = threading.RLock()
        self._tasks = TaskRegistry()
        self._pending_discovery: list[Callable[[], object]] = []
        self._source: Any = config_source
        self._namespace = namespace
        self._silent = False
        self._derived: dict[str, tuple[object, Any]] = {}
        self.on_configure = Signal(name="app.on_configure", providing_args={"source"})
        self.on_after_configure = Signal(
            name="app.on_after_configure", providing_args={"source"}
        )
        self.on_after_finalize = Signal(name="app.on_after_finalize", providing_args={"app"})
        self.loader = Loader(self)
        self.conf = Settings(
            _changes(changes, kwargs, broker=broker, backend=backend, include=include),
            self._read_configuration,
        )
        self.portal = Portal()
        self.connections = Connections(self._make_producer_broker, self.make_backend)
        self.producer = Producer(self.connections, self.wall_clock)
        self.router = Router(lambda: self.conf)
        for task in tasks or ():
            self.register_task(task)
        if set_as_current:
            self.set_current()
        self.on_init()

    def on_init(self) -> None:
        """Called at the end of the constructor; to be overridden."""

    def set_current(self) -> None:
        """Make it the current app of this thread."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make it the app that threads without a current one see."""
        current.set_default_app(self)

    # -- configuration

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from a module, a class, an object, a mapping, or the name of one.

        Args:
            silent: Whether a module that cannot be imported is ignored.
            force: Whether to read it now instead of when a setting is first needed.
            namespace: A prefix that names must have, for example ``"CELERY"``.
        """
        with self._mutex:
            self._source, self._silent, self._namespace = obj, silent, namespace
            self.conf.reload()
        if force:
            self.conf.load()

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> None:
        """Read settings from the module that an environment variable names.

        Raises:
            ImproperlyConfigured: The variable is not set, and ``silent`` is off.
        """
        name = self.loader.name_from_envvar(variable_name, silent=silent)
        if name:
            self.config_from_object(name, silent=silent, force=force)

    def setup_security(self, *args: object, **kwargs: object) -> None:
        """Signed messages: not in this release.

        Raises:
            UnsupportedSetting: Always.
        """
        self.conf.update(task_serializer="auth")

    def add_defaults(self, defaults: Any) -> None:
        """Give settings other defaults; what the configuration says still wins."""
        self.conf.add_defaults(defaults() if callable(defaults) else defaults)

    def _read_configuration(self) -> Mapping[str, object]:
        self.on_configure.send(sender=self, source=self._source)
        found = self.loader.read_configuration(
            self._source, namespace=self._namespace, silent=self._silent
        )
        self.on_after_configure.send(sender=self, source=found)
        return found

    @property
    def timezone(self) -> tzinfo:
        """The time zone of moments that do not say one: UTC unless configured."""
        return self._derive("timezone", lambda conf: zone_of(conf.timezone, conf.enable_utc))

    def now(self) -> datetime:
        """The time now, in :attr:`timezone`."""
        return self.wall_clock.now().astimezone(self.timezone)

    @property
    def broker_url(self) -> str:
        """Where tasks are sent to; the project's own database file by default."""
        return self.conf.broker_write_url or self.conf.broker_url or drivers.DEFAULT_URL

    @property
    def broker_read_url(self) -> str:
        """Where workers take tasks from."""
        return self.conf.broker_read_url or self.conf.broker_url or drivers.DEFAULT_URL

    @property
    def backend_url(self) -> str:
        """Where results are kept: ``result_backend``, else the broker where it can keep them."""
        if self.conf.is_set("result_backend"):
            url = self.conf.result_backend
            return drivers.DISABLED if url in {None, "", "disabled"} else str(url)
        return self.broker_url if drivers.keeps_results(self.broker_url) else drivers.DISABLED

    def _derive(self, name: str, make: Callable[[Settings], T]) -> T:
        version = self.conf.version
        kept = self._derived.get(name)
        if kept is not None and kept[0] is version:
            value: T = kept[1]
            return value
        made = make(self.conf)
        self._derived[name] = (self.conf.version, made)
        return made

    # -- tasks

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks by name; finalizes the app."""
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    def finalize(self, auto: bool = False) -> None:
        """Complete the app: discover tasks, make shared and built-in ones, annotate them.

        Raises:
            RuntimeError: ``auto``, and the app was made with ``autofinalize=False``.
        """
        with self._mutex:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError("Contract breach: app not finalized")
            self.finalized = True
            for make in (*current.shared_task_makers, add_builtin_tasks):
                make(self)
            while self._pending_discovery:
                self._pending_discovery.pop(0)()
            for task in list(self._tasks.values()):
                self._complete(task)
            _finalized.add(self)
        self.on_after_finalize.send(sender=self, app=self)

    def _add(self, task: Task[..., Any]) -> None:
        self._tasks.register(task)
        if self.finalized:
            self._complete(task)

    def _complete(self, task: Task[..., Any]) -> None:
        annotate(task, self.conf.task_annotations)

    def autodiscover_tasks(
        self,
        packages: Sequence[str] | Callable[[], Sequence[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the ``tasks`` modules of packages, when the app is finalized.

        Args:
            packages: Their names, or what gives them.
            related_name: The module in each; None: the packages themselves.
            force: Whether to import them now.
        """

        def discover() -> None:
            names = packages() if callable(packages) else packages or ()
            self.loader.autodiscover_tasks(names, related_name)

        if force:
            discover()
        else:
            self._pending_discovery.append(discover)
            self.loader.on_import_modules(discover)

    # -- calling

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task by name; its code need not be here.

        Takes the options of ``Task.apply_async``.
        """
        call = self._call_by_name(name, args, kwargs, countdown, eta, task_id, options)
        self.portal.call(self.producer.send, (call,), self.publish_policy(options))
        return AsyncResult(call.id, None, name, self)

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """:meth:`send_task`, without blocking the running loop."""
        call = self._call_by_name(name, args, kwargs, countdown, eta, task_id, options)
        await self.producer.send((call,), self.publish_policy(options))
        return AsyncResult(call.id, None, name, self)

    def send_many(self, signatures: Iterable[Mapping[str, Any]]) -> list[AsyncResult[Any]]:
        """Send the calls that signatures describe, in few round trips.

        Raises:
            BatchError: The broker refused some; ``errors`` says which.
            OperationalError: The broker cannot be reached; some may have been sent.
        """
        calls = [self._call_of(signature) for signature in signatures]
        self.portal.call(self.producer.send, calls, self.publish_policy({}))
        return [AsyncResult(call.id, None, call.task, self) for call in calls]

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature that is sent through this app."""
        kwargs["app"] = self
        return Signature(*args, **kwargs)

    subtask = signature

    def AsyncResult(self, id: str, **kwargs: Any) -> AsyncResult[Any]:  # noqa: A002, N802
        """The result of a task, by its id."""
        return AsyncResult(id, app=self, **kwargs)

    def publish_policy(self, options: Mapping[str, Any]) -> PublishPolicy:
        """How persistently to publish, as ``retry`` and ``retry_policy`` or the settings say."""
        if options.get("retry") is None and options.get("retry_policy") is None:
            return self._derive(
                "publish_policy",
                lambda conf: PublishPolicy.of(
                    conf.task_publish_retry, conf.task_publish_retry_policy
                ),
            )
        retry = options.get("retry")
        policy = {**self.conf.task_publish_retry_policy, **(options.get("retry_policy") or {})}
        return PublishPolicy.of(self.conf.task_publish_retry if retry is None else retry, policy)

    def _call_by_name(
        self,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        countdown: float | None,
        eta: Any,
        task_id: str | None,
        options: Mapping[str, Any],
    ) -> Call:
        if self.conf.task_always_eager:
            # Only a warning, and only here: the module costs time to import.
            import warnings

            message = "task_always_eager has no effect on send_task"
            warnings.warn(AlwaysEagerIgnored(message), stacklevel=3)
        given = {**options, "countdown": countdown, "eta": eta, "task_id": task_id}
        defaults = self._defaults_of_name(name)
        return make_call(self, defaults, args or (), kwargs or {}, given)

    def _defaults_of_name(self, name: str) -> dict[str, Any]:
        task = self._tasks.get(name)
        if task is not None:
            return defaults_of(self, name, task.options)
        return defaults_of(self, name, None)

    def _call_of(self, signature: Mapping[str, Any]) -> Call:
        task = self._tasks.get(signature["task"])
        expires = task.options.expires if task is not None else None
        return make_call(
            self,
            self._defaults_of_name(signature["task"]),
            signature.get("args") or (),
            signature.get("kwargs") or {},
            signature.get("options") or {},
            expires,
        )

    def encode_signature(
        self, sig: Mapping[str, object], args: Sequence[object], *, parent: Request
    ) -> Message:
        """The message of a signature that follows ``parent``, called with ``args``."""
        options: Any = sig.get("options") or {}
        kwargs: Any = sig.get("kwargs") or {}
        given = {"parent_id": parent.id, "root_id": parent.root_id or parent.id, **options}
        name = str(sig["task"])
        call = make_call(self, self._defaults_of_name(name), args, kwargs, given)
        return self.producer.encode((call,))[0]

    @property
    def current_task(self) -> Any:
        """The task that is running here, or None."""
        return context.current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker is running here, or None."""
        run = context.current()
        return None if run is None else run.task

    # -- what workers and clients are made of

    @property
    def accept(self) -> frozenset[str]:
        """The content types that messages may have."""
        return self._derive(
            "accept", lambda conf: serializers.content_types(conf.accept_content or ())
        )

    @property
    def decompress_limit(self) -> int:
        """Bytes that a compressed message or result may unpack to."""
        limit: int = self.conf.task_decompressed_max_size
        return limit

    @property
    def codec(self) -> ResultCodec:
        """How results are written and read."""
        return self._derive("codec", self._make_codec)

    def _make_codec(self, conf: Settings) -> ResultCodec:
        accept = conf.result_accept_content or conf.accept_content or ()
        failure = conf.result_failure_expires if conf.is_set("result_failure_expires") else None
        return ResultCodec(
            serializer=conf.result_serializer,
            accept=serializers.content_types([*accept, conf.result_serializer]),
            expires=_seconds(conf.result_expires),
            failure_expires=_seconds(conf.result_expires if failure is None else failure),
            extended=conf.result_extended,
            compression=conf.result_compression,
            limit=self.decompress_limit,
            clock=self.wall_clock,
        )

    @property
    def tools(self) -> Tools:
        """What running tasks in this process needs."""
        return self._derive("tools", lambda _: self._make_tools(None))

    def _make_tools(self, hostname: str | None) -> Tools:
        return Tools(
            codec=self.codec,
            accept=self.accept,
            limit=self.decompress_limit,
            hostname=hostname or "",
            clock=self.wall_clock,
            store=self._store_now,
            publish=self._publish_now,
            encode_signature=self.encode_signature,
            tasks=self._tasks,
            timezone=self.timezone,
        )

    def make_runner(self, hostname: str) -> Runner:
        """What a pool runs requests with."""
        # Only workers run tasks; producers need none of it.
        from umbel.execution.runner import TaskRunner

        return TaskRunner(self.tasks, self._make_tools(hostname))

    def make_broker(self) -> Broker:
        """A broker client for a worker: not opened yet, as persistent as the settings say."""
        return drivers.make_broker(
            self.broker_read_url,
            clock=self.wall_clock,
            lease=self.conf.worker_lease,
            options=self.conf.broker_transport_options or {},
            project=self.project,
            connect_timeout=self.conf.broker_connection_timeout or 4.0,
            max_retries=self.conf.broker_connection_max_retries,
        )

    def _make_producer_broker(self) -> Broker:
        # Repeating is the producer's own policy: only one of the two may insist.
        return drivers.make_broker(
            self.broker_url,
            clock=self.wall_clock,
            lease=self.conf.worker_lease,
            options=self.conf.broker_transport_options or {},
            project=self.project,
            connect_timeout=self.conf.broker_connection_timeout or 4.0,
            max_retries=0,
        )

    def make_backend(self) -> ResultBackend:
        """A result backend client, not opened yet."""
        return drivers.make_backend(
            self.backend_url,
            clock=self.wall_clock,
            options=self.conf.result_backend_transport_options or {},
            project=self.project,
        )

    def queues(
        self, select: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> list[Queue]:
        """The queues to consume from; see :meth:`umbel.app.router.Router.select`."""
        return self.router.select(select, exclude)

    def _store_now(self, records: Sequence[ResultRecord]) -> None:
        self.portal.call(self._store, records)

    async def _store(self, records: Sequence[ResultRecord]) -> None:
        await (await self.connections.backend()).store(records)

    def _publish_now(self, messages: Sequence[Message]) -> None:
        self.portal.call(self.producer.publish, messages, self.publish_policy({}))

    @property
    def oid(self) -> str:
        """This process's address for replies."""
        kept = self._derived.get("oid")
        if kept is None or kept[0] != os.getpid():
            kept = self._derived["oid"] = (os.getpid(), new_id())
        return str(kept[1])

    thread_oid = oid

    @property
    def origin(self) -> str:
        """Who sends tasks from here: ``gen<pid>@<host>``."""
        kept = self._derived.get("origin")
        if kept is None or kept[0] != os.getpid():
            host = os.uname().nodename if hasattr(os, "uname") else os.environ["COMPUTERNAME"]
            kept = self._derived["origin"] = (os.getpid(), f"gen{os.getpid()}@{host}")
        return str(kept[1])

    @property
    def log(self) -> Logging:
        """Logging, set up as the settings say."""
        # Only long-running programs set up logging; the module costs 8 ms.
        from umbel.app.log import Logging

        return self._derive("log", lambda _: Logging(self))

    # -- life

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line with this app; ``sys.argv`` by default."""
        # A program that only sends tasks never needs the command line.
        from umbel.cli.main import main

        main(argv, app=self)

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run ``umbel worker`` with this app."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in arguments:
            arguments.insert(0, "worker")
        self.start(arguments)

    def close(self) -> None:
        """Close the connections that synchronous calls have opened."""
        if self.portal.opened:
            self.portal.call(self.connections.close)
            self.portal.close()
        if current.get_current_app() is self:
            current.set_current_app(current.get_current_app())

    async def aclose(self) -> None:
        """Close the connections that the running loop has opened."""
        await self.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _app_again, (type(self), self.main, self.conf.changes)


Celery = Umbel


def _app_again(kind: type[Umbel], main: str | None, changes: Mapping[str, Any]) -> Umbel:
    return kind(main, changes=changes, set_as_current=False)


def _changes(
    changes: Mapping[str, Any] | None, more: Mapping[str, Any], **named: Any
) -> dict[str, Any]:
    settings = {**(changes or {}), **more}
    for argument, setting in (
        ("broker", "broker_url"),
        ("backend", "result_backend"),
        ("include", "include"),
    ):
        if named[argument] is not None:
            settings[setting] = named[argument]
    return settings


def _seconds(value: Any) -> float | None:
    """A duration setting as seconds; nothing and 0 mean for ever."""
    if value is None:
        return None
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else float(value)
    return seconds or None


def _project_of(app: Umbel, main: str | None) -> str:
    """The folder that the app was made in, and its main name: what names its default database.

    For a module inside a package it is the folder that holds the outermost package.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    if file is None:
        return os.path.join(os.getcwd(), main or "app")
    folder = os.path.dirname(os.path.realpath(file))
    package = frame.f_globals.get("__package__") or ""
    for _ in package.split(".") if package else ():
        folder = os.path.dirname(folder)
    return os.path.join(folder, main or "app")
