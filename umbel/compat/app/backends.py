"""Result backends by name and URL.

Source:
    Celery reference, ``celery.app.backends``: names and behaviour; entry points of the group
    ``celery.result_backends``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from umbel.app.current import current_app
from umbel.app.drivers import driver_of
from umbel.compat.utils.imports import load_extension_class_names
from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import symbol_by_name

__all__ = ["BACKEND_ALIASES", "by_name", "by_url"]

_DISABLED = "umbel.app.no_results:NoResults"

BACKEND_ALIASES = {
    "disabled": _DISABLED,
    "rpc": "umbel.drivers.rabbitmq.rpc:RpcBackend",
    "memory": "umbel.drivers.memory.backend:MemoryBackend",
    "redis": "umbel.drivers.redis.backend:RedisBackend",
    "sqlite": "umbel.drivers.sqlite.backend:SQLiteBackend",
}
"""The classes of umbel's result backends, by the names of their drivers."""


def by_name(
    backend: Any = None, loader: Any = None, extension_namespace: str = "celery.result_backends"
) -> Any:
    """The class of a result backend: by the scheme of its URLs, a name, or ``module:class``.

    Args:
        backend: None: the one that keeps nothing. A class is what it is.
        loader: Whose ``override_backends`` names more.
        extension_namespace: The group of entry points that do.

    Raises:
        ImproperlyConfigured: There is none of that name.
    """
    if backend is not None and not isinstance(backend, str):
        return backend
    name = backend or "disabled"
    more = getattr(loader or current_app.loader, "override_backends", {})
    aliases = {**BACKEND_ALIASES, **more, **dict(load_extension_class_names(extension_namespace))}
    path = aliases.get(name) or aliases.get(_driver(name), name)
    try:
        found = symbol_by_name(path) if isinstance(path, str) else path
    except (ValueError, ImportError, AttributeError) as error:
        if path != name or "." in name:
            raise
        raise ImproperlyConfigured(
            f"Unknown result backend: {name!r}.  Did you spell that correctly? ({error!r})"
        ) from error
    if isinstance(found, ModuleType):
        raise ImproperlyConfigured(
            f"Unknown result backend: {name!r}.  Did you spell that correctly? "
            "('is a Python module, not a backend class.')"
        )
    return found


def by_url(backend: Any = None, loader: Any = None) -> tuple[Any, str | None]:
    """The class of a result backend, and its URL if that was given.

    Raises:
        ImproperlyConfigured: As :func:`by_name`.
    """
    if not isinstance(backend, str) or "://" not in backend:
        return by_name(backend, loader), None
    scheme = backend.partition("://")[0]
    if "+" in scheme and _driver(scheme) is None:
        name, _, url = backend.partition("+")
        return by_name(name, loader), url
    return by_name(scheme, loader), backend


def _driver(scheme: str) -> str | None:
    try:
        return driver_of(scheme)
    except ImproperlyConfigured:
        return None
