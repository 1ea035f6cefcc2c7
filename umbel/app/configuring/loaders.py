"""Find configuration and task modules.

Source:
    Celery reference, ``celery.loaders``: names of methods and hooks. The rule for old and new
    names in one configuration is Celery's.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.app.configuring.configuration import Configuration
from umbel.app.configuring.discovery import autodiscover
from umbel.app.configuring.sources import read_object
from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import cwd_in_path, symbol_by_name

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["DEFAULT_CONFIG_MODULE", "Loader", "get_loader_cls"]

DEFAULT_CONFIG_MODULE = "celeryconfig"
_LOADER_VARIABLES = ("UMBEL_LOADER", "CELERY_LOADER")
_VARIABLES = ("UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE")
_MODULES = ("umbelconfig", DEFAULT_CONFIG_MODULE)


class Loader:
    """Finds an app's configuration and imports the modules of its tasks."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.configured = False
        self.worker_initialized = False
        self._discoveries: list[Callable[[], object]] = []
        self._read: Configuration = Configuration()

    def now(self, utc: bool = True) -> datetime:
        """The time, in UTC or in the app's time zone."""
        now = self.app.wall_clock.now()
        return now if utc else now.astimezone(self.app.timezone)

    # -- hooks that subclasses may override

    def on_task_init(self, task_id: str, task: Any) -> None:
        """Called before a task is run."""

    def on_process_cleanup(self) -> None:
        """Called after a task was run."""

    def on_worker_init(self) -> None:
        """Called when a worker starts."""

    def on_worker_shutdown(self) -> None:
        """Called when a worker ends."""

    def on_worker_process_init(self) -> None:
        """Called when a child process starts."""

    def own_hook(self, name: str) -> Callable[..., Any] | None:
        """The hook of that name, if a subclass has its own: the others need not be called."""
        own = getattr(type(self), name) is not getattr(Loader, name)
        return getattr(self, name) if own else None

    # -- configuration

    @property
    def conf(self) -> Configuration:
        """What was read last."""
        return self._read

    def name_from_envvar(self, variable: str, *, silent: bool = False) -> str | None:
        """The name of the configuration module that an environment variable holds.

        Raises:
            ImproperlyConfigured: The variable is not set, and ``silent`` is off.
        """
        name = os.environ.get(variable)
        if name or silent:
            return name or None
        raise ImproperlyConfigured(
            f"the environment variable {variable} is not set. "
            f"Set it to the name of your configuration module: export {variable}=proj.config"
        )

    def load_configuration(
        self, source: Any, *, namespace: str | None, silent: bool
    ) -> Configuration:
        """What the app reads: :meth:`read_configuration`, also that of a subclass made for Celery,
        which takes no source and returns a mapping, or None for nothing."""
        read = self.own_hook("read_configuration")
        if source is not None or read is None:
            return Loader.read_configuration(self, source, namespace=namespace, silent=silent)
        given = read()
        self._read = Configuration() if given is None else read_object(given, namespace)
        self.configured = True
        return self._read

    def read_configuration(
        self, source: Any = None, *, namespace: str | None = None, silent: bool = False
    ) -> Configuration:
        """Read the settings of a module, class, object or mapping, or of the name of one.

        Args:
            source: None: the module that the environment names, else ``umbelconfig`` or
                ``celeryconfig`` if there is one.
            namespace: The prefix that names must have.
            silent: Whether a module that cannot be imported counts as empty.

        Raises:
            ImproperlyConfigured: It cannot be found, or mixes old and new names.
            UnknownSetting: A mapping names something that is no setting.
        """
        if source is None:
            found = self._default_source()
        elif isinstance(source, str):
            try:
                found = self.find_object(source)
            except ImportError:
                if not silent:
                    raise
                found = None
        else:
            found = source
        named = source if isinstance(source, str) else None
        self._read = Configuration() if found is None else read_object(found, namespace, name=named)
        self.configured = True
        return self._read

    config_from_object = read_configuration

    def _default_source(self) -> Any:
        for variable in _VARIABLES:
            name = os.environ.get(variable)
            if name:
                return self.find_object(name, origin=f"the environment variable {variable}")
        for name in _MODULES:
            try:
                return self.import_from_cwd(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
        return None

    def find_object(self, name: str, *, origin: str | None = None) -> Any:
        """What ``package.module``, ``package.module:attribute`` or ``module.attribute`` names.

        Raises:
            ImproperlyConfigured: There is no such thing; modules that fail to import raise what
                they raise.
        """
        module, _, attribute = name.partition(":")
        try:
            found: Any = self.import_from_cwd(module)
        except ModuleNotFoundError as error:
            parent, _, last = module.rpartition(".")
            if error.name is None or not _begins(module, error.name):
                raise
            holder = _attribute_holder(self, parent) if not attribute else None
            if holder is None or not hasattr(holder, last):
                asked = f", as {origin} asks" if origin else ""
                message = (
                    f"cannot read the configuration {name!r}{asked}: "
                    f"there is no module {error.name!r} in {os.getcwd()} or on sys.path."
                )
                raise _MissingConfiguration(message, name=error.name) from error
            return getattr(holder, last)
        for part in attribute.split(".") if attribute else ():
            if not hasattr(found, part):
                raise ImproperlyConfigured(
                    f"cannot read the configuration {name!r}: {module!r} has no {part!r}."
                )
            found = getattr(found, part)
        return found

    # -- tasks

    def on_import_modules(self, discover: Callable[[], object]) -> None:
        """Have ``discover`` called when a worker imports its modules."""
        self._discoveries.append(discover)

    @property
    def default_modules(self) -> tuple[str, ...]:
        """The modules that a worker imports: those of ``imports`` and ``include``."""
        conf = self.app.conf
        return tuple(dict.fromkeys([*(conf.imports or ()), *(conf.include or ())]))

    def import_default_modules(self) -> list[ModuleType]:
        """Import what a worker needs: has the fixups prepare the process, sends
        ``import_modules``, then imports by name.

        Raises:
            ImportError: A module is not there, or failed; says which setting names it.
        """
        self.app.fixups.prepare()
        signals.import_modules.send(sender=self.app)
        discoveries, self._discoveries = self._discoveries, []
        for discover in discoveries:
            discover()
        return [self.import_task_module(name) for name in self.default_modules]

    def import_task_module(self, name: str) -> ModuleType:
        """Import a module of tasks, with the working directory on the path."""
        try:
            return self.import_from_cwd(name)
        except ModuleNotFoundError as error:
            if error.name is None or not _begins(name, error.name):
                raise
            conf = self.app.conf
            setting = "imports" if name in (conf.imports or ()) else "include"
            message = (
                f"cannot import {name!r}, which is in the setting {setting!r} "
                f"({conf.origin(setting)}): there is no module {error.name!r} in {os.getcwd()} "
                "or on sys.path."
            )
            raise ModuleNotFoundError(message, name=error.name) from error

    def autodiscover_tasks(
        self, packages: Iterable[str], related_name: str | None = "tasks"
    ) -> list[ModuleType]:
        """Import the modules of that name in packages; those that have none are skipped."""
        with cwd_in_path():
            return autodiscover(packages, related_name)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Import a module."""
        return importlib.import_module(name, package)

    def import_from_cwd(self, name: str, package: str | None = None) -> ModuleType:
        """Import a module; the working directory is searched first."""
        with cwd_in_path():
            return self.import_module(name, package)

    def init_worker(self) -> None:
        """Import the task modules; the first time, call :meth:`on_worker_init`."""
        self.import_default_modules()
        if not self.worker_initialized:
            self.worker_initialized = True
            self.on_worker_init()

    def init_worker_process(self) -> None:
        """Call :meth:`on_worker_process_init`."""
        self.on_worker_process_init()

    def shutdown_worker(self) -> None:
        """Call :meth:`on_worker_shutdown`."""
        self.on_worker_shutdown()


def get_loader_cls(loader: str | type[Loader] | None = None) -> type[Loader]:
    """The loader of that name.

    Args:
        loader: ``default`` and ``app`` are :class:`Loader`; others are ``module:class``. None:
            what the environment names in ``UMBEL_LOADER`` or ``CELERY_LOADER``, else the default.

    Raises:
        ImproperlyConfigured: There is no such loader.

    Source:
        Celery reference, ``celery.loaders``.
    """
    if isinstance(loader, type):
        return loader
    named = (os.environ.get(variable) for variable in _LOADER_VARIABLES)
    name = loader or next(filter(None, named), "default")
    if name in {"default", "app"}:
        return Loader
    try:
        found: type[Loader] = symbol_by_name(name)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(
            f"there is no loader {name!r} ({error}). Say 'default', 'app', or module:class."
        ) from error
    return found


class _MissingConfiguration(ImproperlyConfigured, ImportError):
    """There is no such configuration module."""

    def __init__(self, message: str, *, name: str | None) -> None:
        super().__init__(message)
        self.name = name


def _attribute_holder(loader: Loader, name: str) -> Any:
    if not name:
        return None
    try:
        return loader.import_from_cwd(name)
    except ModuleNotFoundError:
        # Neither a module nor an attribute of one: the caller says so.
        return None


def _begins(name: str, missing: str) -> bool:
    return name == missing or name.startswith(f"{missing}.")
