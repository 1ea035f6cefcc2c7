"""A scheduler as a service: umbel's own, or a class made for Celery.

Source:
    Celery reference, ``celery.beat.Service``, ``EmbeddedService``: names and meanings.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Generator
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.app.connecting.drivers import driver_of
from umbel.app.scheduling.schedule import code_entries
from umbel.beat.answering import Answering
from umbel.beat.engine import Engine
from umbel.beat.scheduler import PersistentScheduler
from umbel.beat.shelf import last_runs
from umbel.exceptions import ImproperlyConfigured
from umbel.schedules import crontab
from umbel.schedules.plan import Plan

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.beat.scheduler import Scheduler

__all__ = [
    "EmbeddedService",
    "Service",
    "beside_worker",
    "make_engine",
    "scheduler_class",
    "serve",
]

logger = logging.getLogger("umbel.beat")

_OWN = {
    "celery.beat:PersistentScheduler",
    "celery.beat.PersistentScheduler",
    "umbel.beat:PersistentScheduler",
    "umbel.beat.PersistentScheduler",
    "umbel.beat.scheduler:PersistentScheduler",
}
"""What asks for umbel's own schedule: Celery's default, by its names."""
_CLEANUP = "celery.backend_cleanup"
_INTERVAL = 1.0
"""Seconds at most between two looks at umbel's own schedule."""


class Service:
    """Runs a scheduler until it is stopped.

    Args:
        app: The app.
        max_interval: The most seconds between two looks; default: ``beat_max_loop_interval``.
        schedule_filename: Default: ``beat_schedule_filename``.
        scheduler_cls: Default: ``beat_scheduler``.
        remote_control: Whether to answer pings; default: ``beat_enable_remote_control``.
        hostname: The node name to answer to; default: ``celerybeat@`` and the host.
    """

    def __init__(
        self,
        app: Umbel,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or None
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        if schedule_filename is not None:
            app.conf.update(beat_schedule_filename=schedule_filename)
        self.scheduler_cls = scheduler_class(scheduler_cls or app.conf.beat_scheduler)
        self.remote_control: bool = (
            app.conf.beat_enable_remote_control if remote_control is None else remote_control
        )
        self.hostname = hostname
        self.looked_at = 0.0
        """When the schedule was last looked at, on the clock's ``monotonic``."""
        self._scheduler: Scheduler | None = None
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is umbel's own schedule, which has no class of Celery's kind."""
        return self.scheduler_cls is None

    def start(self, embedded_process: bool = False) -> None:
        """Run until :meth:`stop`, or until the process is asked to end."""
        logger.info("beat: Starting...")
        signals.beat_init.send(sender=self)
        if embedded_process:
            signals.beat_embedded_init.send(sender=self)
        try:
            with self.answering():
                if self.is_own:
                    asyncio.run(self._serve())
                else:
                    self._drive(self.scheduler)
        finally:
            self._stopped.set()

    @contextlib.contextmanager
    def answering(self) -> Generator[None]:
        """Answer pings meanwhile, if that is wanted."""
        # What never looks at its schedule counts from here on.
        self.look()
        if not self.remote_control:
            yield
            return
        node = Answering(
            self.app,
            hostname=self.hostname,
            interval=self.longest_interval,
            looked_at=lambda: self.looked_at,
            scheduler="umbel" if self.is_own else self.scheduler_cls.__name__,
        )
        node.start()
        try:
            yield
        finally:
            node.stop()

    @property
    def longest_interval(self) -> float:
        """Seconds at most between two looks at the schedule."""
        return self.max_interval or (_INTERVAL if self.is_own else self.scheduler.max_interval)

    def look(self) -> None:
        """Note that the schedule has been looked at."""
        self.looked_at = self.app.wall_clock.monotonic()

    def stop(self, wait: bool = False) -> None:
        """End; may be called in any thread, and in a handler of signals.

        Args:
            wait: Return only when it has ended.
        """
        logger.info("beat: Shutting down...")
        self._stopping.set()
        serving = self._serving
        if serving is not None:
            loop, stopping = serving
            # It may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stopping.set)
        if wait:
            self._stopped.wait()

    def sync(self) -> None:
        """Have the scheduler write down what it has to."""
        if self._scheduler is not None:
            self._scheduler.close()

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler, made when it is first asked for."""
        if self._scheduler is None:
            self._scheduler = self.get_scheduler()
        return self._scheduler

    def get_scheduler(
        self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers"
    ) -> Scheduler:
        """Make the scheduler."""
        cls = self.scheduler_cls or PersistentScheduler
        made: Scheduler = cls(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )
        return made

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        self._serving = asyncio.get_running_loop(), stopping
        if self._stopping.is_set():
            stopping.set()
        try:
            await serve(self, stopping)
            await self.app.connections.close()
        finally:
            self._serving = None

    def _drive(self, scheduler: Scheduler) -> None:
        """Celery's loop, for schedulers that are made for it."""
        try:
            while not self._stopping.is_set():
                pause = scheduler.tick()
                self.look()
                if pause and pause > 0:
                    logger.debug("beat: Waking up in %.2f seconds.", pause)
                    self._stopping.wait(pause)
                    if scheduler.should_sync():
                        # Subclasses override it, and Celery's service calls it.
                        scheduler._do_sync()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        finally:
            self.sync()


def EmbeddedService(app: Umbel, max_interval: float | None = None, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
    """A scheduler in a thread, to be started and stopped: ``start()``, ``stop()``."""
    kwargs.pop("thread", None)
    return _Thread(Service(app, max_interval=max_interval, **kwargs))


class _Thread(threading.Thread):
    """A service in a thread of its own."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="Beat", daemon=True)
        self.service = service

    def run(self) -> None:
        """Run the service."""
        self.service.start(embedded_process=True)

    def stop(self) -> None:
        """End it, and wait until it has."""
        self.service.stop(wait=True)


async def serve(service: Service, stopping: asyncio.Event) -> None:
    """Run umbel's own schedule on this loop until ``stopping`` is set.

    Raises:
        ImproperlyConfigured: An entry cannot be.
    """
    engine = await make_engine(service.app, max_interval=service.max_interval)
    try:
        while not stopping.is_set():
            pause = await engine.tick()
            service.look()
            if pause > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await stopping.wait()
    finally:
        await engine.resign()


async def beside_worker(app: Umbel, stopping: asyncio.Event) -> None:
    """Run the configured scheduler inside a worker, on its loop or, for a class made for Celery,
    in a thread, until ``stopping`` is set."""
    service = Service(app)
    if service.is_own:
        signals.beat_embedded_init.send(sender=service)
        with service.answering():
            await serve(service, stopping)
        return
    running = asyncio.create_task(asyncio.to_thread(service.start, embedded_process=True))
    try:
        await stopping.wait()
    finally:
        service.stop()
        await running


async def make_engine(app: Umbel, *, max_interval: float | None = None) -> Engine:
    """What runs the app's schedule, from wherever it is kept."""
    code = code_entries(app)
    if _needs_cleanup(app) and _CLEANUP not in code:
        code[_CLEANUP] = Plan(
            name=_CLEANUP,
            task=_CLEANUP,
            schedule=crontab("0", "4", "*", app=app),
            options={"expires": 12 * 3600},
        )
    return Engine(
        app,
        app.connections.schedules,
        code,
        before=last_runs(app.conf.beat_schedule_filename),
        max_interval=max_interval,
    )


def scheduler_class(named: Any) -> Any:
    """The class of a scheduler, by dotted name or the name of an entry point; None: umbel's own.

    Raises:
        ImproperlyConfigured: There is no such class.
    """
    if not isinstance(named, str):
        return None if named is PersistentScheduler else named
    if named in _OWN:
        return None
    for group in ("umbel.beat_schedulers", "celery.beat_schedulers"):
        for point in entry_points(group=group, name=named):
            return point.load()
    module, _, attribute = named.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"beat_scheduler={named!r}: there is no such class ({error}). Name it as "
            "'package.module:Class', or by its entry point, for example 'django'."
        ) from error


def _needs_cleanup(app: Umbel) -> bool:
    """Whether results have to be deleted by a task: elsewhere, they expire by themselves."""
    if app.foreign_backend is not None:
        return not app.backend.supports_autoexpire
    url = app.backend_url
    return bool(app.conf.result_expires) and url.startswith("sqlite") and driver_of(url) == "sqlite"
