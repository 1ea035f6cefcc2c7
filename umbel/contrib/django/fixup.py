"""What an app does in a Django project, by itself, once the environment names its settings module.

Before modules of tasks are imported, Django is set up and its checks are run;
``app.autodiscover_tasks()`` looks into the installed applications; tasks are of
:class:`~umbel.contrib.django.task.DjangoTask`; what a task leaves behind, connections to databases
and caches, is treated as Django treats what a request leaves behind.

Source:
    Celery documentation, Django, "First steps with Django"; Django documentation, "Databases",
    "Persistent connections".
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.app.fixups import DJANGO
from umbel.app.task import Task
from umbel.contrib.django.task import DjangoTask
from umbel.exceptions import FixupWarning

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["DjangoFixup", "DjangoWorkerFixup", "fixup"]

logger = logging.getLogger(__name__)

_SKIP_CHECKS = ("UMBEL_SKIP_CHECKS", "CELERY_SKIP_CHECKS")

# Django is optional, and has no types here: its modules are imported by name, where they are used.


def fixup(app: Umbel, env: str = DJANGO) -> DjangoFixup | None:
    """Fit an app to Django, if the environment variable ``env`` names a settings module."""
    if not os.environ.get(env):
        return None
    if find_spec("django") is None:
        warnings.warn(
            f"{env} is set, but Django is not installed here: the app does not know of it.",
            FixupWarning,
            stacklevel=2,
        )
        return None
    return DjangoFixup(app).install()


class DjangoFixup:
    """Fits one app to Django; other apps of the process are left alone."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.worker_fixup = DjangoWorkerFixup(app)

    def install(self) -> DjangoFixup:
        """Do it. The project's folder is searched first for modules from now on, and tasks are
        ``DjangoTask`` unless the app has a class of its own."""
        here = os.getcwd()  # noqa: PTH109 - as everywhere in what producers import
        if here not in sys.path:
            sys.path.insert(0, here)
        if self.app.task_cls is Task:
            self.app.task_cls = DjangoTask
        signals.worker_init.connect(self.on_worker_init)
        signals.worker_process_init.connect(self.on_worker_process_init)
        return self

    def prepare(self) -> None:
        """Set Django up, and check the project."""
        self.worker_fixup.validate_models()

    on_import_modules = prepare

    def autodiscover_tasks(self) -> list[str]:
        """The packages of the installed applications.

        Raises:
            django.core.exceptions.AppRegistryNotReady: Django has not been set up yet.
        """
        found = import_module("django.apps").apps.get_app_configs()
        return [config.name for config in found]

    def now(self, utc: bool = False) -> datetime:
        """The time, as Django tells it."""
        if utc:
            return datetime.now(UTC)
        now: datetime = import_module("django.utils.timezone").now()
        return now

    def on_worker_init(self, sender: Any = None, **_: Any) -> None:
        """A worker starts, of this app or another one."""
        if getattr(sender, "app", self.app) is self.app:
            self.worker_fixup.install()

    def on_worker_process_init(self, **_: Any) -> None:
        """A process begins that runs tasks only: perhaps a copy of the worker, perhaps new."""
        self.worker_fixup.on_worker_process_init()


class DjangoWorkerFixup:
    """Treats a task as Django treats a request."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self._pid = os.getpid()

    def django_setup(self) -> None:
        """Set Django up, unless that has been done already."""
        # Again, it would take the logging away that the worker has set up.
        if not import_module("django.apps").apps.ready:
            import_module("django").setup()

    def validate_models(self) -> None:
        """Set Django up; log the errors that its checks find, unless they are to be skipped.

        A worker starts all the same, as Celery's do.
        """
        self.django_setup()
        if any(os.environ.get(variable) for variable in _SKIP_CHECKS):
            return
        checks = import_module("django.core.checks")
        for found in checks.run_checks():
            if found.is_serious() and not found.is_silenced():
                logger.log(found.level, "Django's checks: %s", found)

    def install(self) -> DjangoWorkerFixup:
        """From now on, tidy up around each task of this process and of copies of it."""
        self._connect()
        self._close_all()
        return self

    def _connect(self) -> None:
        signals.task_prerun.connect(self.on_task_prerun)
        signals.task_postrun.connect(self.on_task_postrun)
        signals.beat_embedded_init.connect(self.close_database)

    def on_worker_process_init(self, **_: Any) -> None:
        """Begin without the connections that a copied process has opened."""
        self._connect()
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            for connection in _connections():
                _disown(connection)
        self._close_all()

    def on_task_prerun(self, sender: Any, **_: Any) -> None:
        """A task begins: what the last one has left may have grown too old meanwhile."""
        if self._is_ours(sender):
            self.close_database()

    def on_task_postrun(self, sender: Any, **_: Any) -> None:
        """A task has ended."""
        if self._is_ours(sender):
            self.close_database()
            self.close_cache()

    def _is_ours(self, task: Any) -> bool:
        # An eager task is part of whatever has called it, and of its transaction.
        return task.app is self.app and not task.request.is_eager

    def close_database(self, **_: Any) -> None:
        """Close the connections of this thread that Django would close after a request: broken
        ones, and those older than ``CONN_MAX_AGE``; each where threads are greenlets, since none
        is seen again. Coroutines have Django's models work in another thread: there, then."""
        # Whoever runs a loop has imported it; get_running_loop() raises where there is none.
        asyncio = sys.modules.get("asyncio")
        if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001
            _close_outdated()
        else:
            import_module("asgiref.sync").SyncToAsync.single_thread_executor.submit(_close_outdated)

    def close_cache(self) -> None:
        """Close the connections to caches, those that want to be closed after each request."""
        import_module("django.core.cache").close_caches()

    def _close_all(self) -> None:
        """Close all connections of this thread, pools of them included."""
        for connection in _connections():
            if connection.in_atomic_block:
                # A test's, which runs a worker below its transaction.
                continue
            with suppress(_interface_error()):
                connection.close()
            if hasattr(connection, "close_pool"):
                with suppress(KeyError):
                    connection.close_pool()
        self.close_cache()


def _connections() -> list[Any]:
    """Those to databases that this thread has used."""
    found: list[Any] = import_module("django.db").connections.all(initialized_only=True)
    return found


def _interface_error() -> type[Exception]:
    error: type[Exception] = import_module("django.db").InterfaceError
    return error


def _close_outdated() -> None:
    for connection in _connections():
        try:
            if _threads_are_greenlets():
                connection.close()
            else:
                connection.close_if_unusable_or_obsolete()
        except Exception:
            # The task has nothing to do with it, and the next one gets a new connection.
            logger.warning("Cannot close the connection %r", connection.alias, exc_info=True)
            connection.connection = None


def _threads_are_greenlets() -> bool:
    # Whoever has patched them has imported them.
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    return (gevent is not None and gevent.is_module_patched("threading")) or (
        eventlet is not None and eventlet.is_monkey_patched("thread")
    )


_inherited: list[Any] = []
"""Connections of the process that this one is a copy of, which only it may close."""


def _disown(connection: Any) -> None:
    """Forget a connection without a word to the server: it is still in use elsewhere."""
    pools = getattr(connection, "_connection_pools", {})
    _inherited.append(pools.pop(connection.alias, None))
    if connection.connection is None:
        return
    _inherited.append(connection.connection)
    with suppress(Exception):
        # Whatever its client says at the end of the process, nobody hears it.
        descriptor = connection.connection.fileno()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor)
        os.close(null)
    connection.connection = None
