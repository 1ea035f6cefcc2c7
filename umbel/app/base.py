"""The application: configuration, tasks, and the way to broker and results.

Source:
    Celery reference, ``celery.app.base``: names, arguments, order of initialization.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from umbel.app import current
from umbel.app.configuring.loaders import Loader, get_loader_cls
from umbel.app.configuring.settings import Settings
from umbel.app.connecting.connections import Connections
from umbel.app.connecting.portal import Portal
from umbel.app.decorators import TaskDecorators
from umbel.app.equipment import Equipment
from umbel.app.fixups import BUILTIN_FIXUPS, Fixups
from umbel.app.kinds import class_of
from umbel.app.registry import TaskRegistry
from umbel.app.sending.producer import Producer
from umbel.app.sending.router import Router
from umbel.app.sending.sent_events import SentEvents
from umbel.app.task import Task
from umbel.clock import LamportClock, SystemClock
from umbel.execution import context
from umbel.signals import Signal

if TYPE_CHECKING:
    from umbel.app.operating.dead_letters import DeadLetters
    from umbel.app.scheduling.schedule import Schedule
    from umbel.protocols import Clock

__all__ = ["Celery", "Umbel"]

T = TypeVar("T")


class Umbel(TaskDecorators, Equipment):
    """An application; ``Celery`` is the same class under its familiar name.

    Making one does nothing: no module is read, no connection is opened. It reads its
    configuration when a setting is first needed, and is finalized when its tasks are.
    Thread-safe; any number of apps live in one process.
    """

    builtin_fixups: AbstractSet[str] = BUILTIN_FIXUPS
    """What fits the app to frameworks, unless it is made with others."""
    SYSTEM = {"win32": "Windows"}.get(sys.platform, sys.platform.capitalize())
    IS_macOS = sys.platform == "darwin"
    IS_WINDOWS = sys.platform == "win32"
    loader_cls: str | type[Loader] | None = None
    """What finds configuration and modules, or its name; default: what the environment names in
    ``CELERY_LOADER``, else :class:`~umbel.app.configuring.loaders.Loader`."""

    def __init__(
        self,
        main: str | None = None,
        loader: str | type[Loader] | None = None,
        backend: str | type[Any] | None = None,
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
        task_cls: str | type[Task[..., Any]] | None = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        *,
        clock: Clock | None = None,
        **kwargs: Any,
    ) -> None:
        """Make an app.

        Args:
            main: Takes the place of ``__main__`` in the names of tasks of a script.
            loader: Instead of :attr:`loader_cls`.
            backend: ``result_backend``, or the class of one made for Celery.
            broker: ``broker_url``.
            include: Modules that workers import.
            amqp: Instead of :attr:`amqp_cls`.
            events: Instead of :attr:`events_cls`.
            log: Instead of :attr:`log_cls`.
            control: Instead of :attr:`control_cls`.
            changes: Settings.
            config_source: As for :meth:`config_from_object`.
            fixups: Instead of :attr:`builtin_fixups`: functions, or their names.
            task_cls: What tasks are made of, or its name.
            config_source_silent: Whether a ``config_source`` that cannot be imported is ignored.
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
        self.finalized = self._finalizing = False
        self.autofinalize = autofinalize
        self.steps: dict[str, set[Any]] = {"worker": set(), "consumer": set()}
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        given = {"task": task_cls, "log": log, "control": control, "events": events, "amqp": amqp}
        vars(self).update({f"{name}_cls": kind for name, kind in given.items() if kind is not None})
        self._mutex = threading.RLock()
        self._registering = threading.RLock()
        self._tasks = class_of(self.registry_cls)()
        self._pending_discovery: list[Callable[[], object]] = []
        self._source: Any = config_source
        self._namespace = namespace
        self._silent = config_source_silent
        self._derived: dict[str, tuple[object, Any]] = {}
        self.periodic: dict[str, dict[str, Any]] = {}
        self._make_signals()
        self.loader = get_loader_cls(loader or self.loader_cls)(self)
        self.conf = Settings(
            _changes(changes, kwargs, broker=broker, backend=self._named(backend), include=include),
            self._read_configuration,
        )
        self._make_clients()
        for task in tasks or ():
            self.register_task(task)
        self.fixups = Fixups(self, self.builtin_fixups if fixups is None else fixups)
        if set_as_current:
            self.set_current()
        self.on_init()

    def _make_clients(self) -> None:
        self.portal = Portal()
        self.connections = Connections(
            self._make_producer_broker,
            self.make_backend,
            self.make_fanout,
            self._make_schedules,
        )
        self.router = Router(lambda: self.conf, self._own_amqp)
        self.producer = Producer(
            self.connections, self.wall_clock, self.router.undeclared, SentEvents(self)
        )

    def _make_signals(self) -> None:
        self.on_configure = Signal(name="app.on_configure", providing_args={"source"})
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize", providing_args={"app"})
        self.on_after_fork = Signal(name="app.on_after_fork")

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

    def setup_security(
        self,
        allowed_serializers: Iterable[str] | None = None,
        key: str | None = None,
        key_password: str | bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Sign what this process sends, and read only what somebody trusted has signed.

        See :func:`umbel.app.security.setup_security`.
        """
        # Few programs sign, and none needs this to be imported.
        from umbel.app.security import setup_security

        setup_security(
            allowed_serializers, key, key_password, cert, store, digest, serializer, app=self
        )

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Mapping[str, Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **opts: Any,
    ) -> str:
        """Have a task run again and again; to be called while the app is configured.

        Args:
            schedule: Seconds, a ``timedelta``, a line of crontab or a schedule.
            sig: A signature, or a task.
            args: Arguments before the signature's.
            kwargs: Keyword arguments before the signature's.
            name: The entry's; default: the signature's looks.
            opts: Options of ``apply_async``; and ``missed``, ``overlap`` and the other rules of
                an entry.

        Returns:
            The entry's name.

        Source:
            Celery user guide, Periodic Tasks, "Entries".
        """
        # Only who has periodic tasks needs it.
        from umbel.app.scheduling.entries import entry_of

        key, entry = entry_of(schedule, sig, args, kwargs, name, opts)
        self.periodic[key] = entry
        return key

    @property
    def schedule(self) -> Schedule:
        """Periodic tasks, seen and changed while schedulers run."""
        # Only who has periodic tasks needs it.
        from umbel.app.scheduling.schedule import Schedule

        return Schedule(self)

    def add_defaults(self, fun: Any) -> None:
        """Give settings other defaults, as a mapping or what makes one; what the configuration
        says still wins."""
        found: Any = fun() if callable(fun) else fun
        self.conf.add_defaults(found)

    def _read_configuration(self) -> Mapping[str, object]:
        self.on_configure.send(sender=self, source=self._source)
        read = self.loader.load_configuration(
            self._source, namespace=self._namespace, silent=self._silent
        )
        found: Mapping[str, object] = self.prepare_config(read)
        self.on_after_configure.send(sender=self, source=found)
        return found

    def prepare_config(self, c: Any) -> Any:
        """What was read, as it is to be merged with the defaults; to be overridden."""
        return c

    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first of the values that is not None, else the setting ``default_key``."""
        given = next((value for value in defaults if value is not None), None)
        return self.conf.get(default_key) if given is None else given

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
        if auto and not self.finalized and not self.autofinalize:
            raise RuntimeError("Contract breach: app not finalized")
        # Before the mutex: reading the configuration may finalize, from another thread, too.
        self.conf.load()
        with self._mutex:
            if self.finalized or self._finalizing:
                return
            self._finalizing = True
            try:
                self._complete_all()
                self.finalized = True
            finally:
                self._finalizing = False
        self.on_after_finalize.send(sender=self, app=self)

    def _complete_all(self) -> None:
        # First: whoever shares a task from now on makes it here, too.
        current.note_finalized(self)
        # Not needed before; with what runs error callbacks, it takes 8 ms to import.
        from umbel.app.builtins import add_builtin_tasks

        for make in (*current.shared_task_makers, add_builtin_tasks):
            make(self)
        while self._pending_discovery:
            self._pending_discovery[0]()
            self._pending_discovery.pop(0)
        for task in list(self._tasks.values()):
            self._complete(task)

    def autodiscover_tasks(
        self,
        packages: Sequence[str] | Callable[[], Sequence[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the ``tasks`` modules of packages, when the app is finalized.

        Args:
            packages: Their names, or what gives them; None: those that the framework knows, for
                Django the installed applications, when a worker or the like imports modules.
            related_name: The module in each; None: the packages themselves.
            force: Whether to import them now.
        """

        def discover() -> None:
            named = self.fixups.packages if packages is None else packages
            names = named() if callable(named) else named
            self.loader.autodiscover_tasks(names, related_name)

        if force:
            discover()
            return
        if packages is not None:
            self._pending_discovery.append(discover)
        self.loader.on_import_modules(discover)

    @property
    def current_task(self) -> Any:
        """The task that is running here, or None."""
        return context.current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker is running here, or None."""
        run = context.current()
        return None if run is None else self._tasks.get(run.task.name)

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that were given up."""
        # Few programs look at them; see log.
        from umbel.app.operating.dead_letters import DeadLetters

        return self._derive("dead_letters", lambda _: DeadLetters(self))

    def bugreport(self) -> str:
        """Versions, addresses, tasks and changed settings, for a report of a bug; no secrets."""
        # Only a report needs to know the platform.
        from umbel.app.operating.report import bugreport

        return bugreport(self)

    # -- life

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line with this app; ``sys.argv`` by default."""
        # The command line stands above the app, and asks for it by this name.
        importlib.import_module("umbel.cli.main").main(argv, app=self)

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run ``umbel worker`` with this app."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in arguments:
            arguments.insert(0, "worker")
        self.start(arguments)

    def close(self) -> None:
        """Close the connections that synchronous calls have opened."""
        if self.portal.opened:
            self.portal.call_everywhere(self.connections.close)
            self.portal.close()
        current.forget_app(self)

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
        source = self._source
        options = {
            "changes": self.conf.changes,
            # Modules are not pickled, but found again by name.
            "config_source": source.__name__ if isinstance(source, ModuleType) else source,
            "namespace": self._namespace,
            "strict_typing": self.strict_typing,
        }
        return _app_again, (type(self), self.main, self.project, options)


Celery = Umbel

current.make_default_with(lambda: Umbel("default", set_as_current=False))


def _app_again(
    kind: type[Umbel], main: str | None, project: str, options: Mapping[str, Any]
) -> Umbel:
    app = kind(main, set_as_current=False, **options)
    app.project = project
    return app


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


def _project_of(app: Umbel, main: str | None) -> str:
    """The folder that the app was made in, and its main name: what names its default database.

    For a module inside a package it is the folder that holds the outermost package.
    """
    # inspect, which has the public name, costs 15 ms to import.
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
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
