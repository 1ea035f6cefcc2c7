"""Which class serves ``result_backend``, where it is none of umbel's own.

Source:
    Celery reference, ``celery.app.backends``; user guide, Extensions and Bootsteps: the entry
    point group ``celery.result_backends``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from umbel.app.connecting import drivers
from umbel.app.current import get_current_app
from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import symbol_by_name

__all__ = ["BACKEND_ALIASES", "by_name", "by_url"]

BACKEND_ALIASES = {
    "disabled": "umbel.app.backends.disabled:DisabledBackend",
    **dict.fromkeys(
        ("memory", "redis", "rediss", "rpc", "sentinel", "sqlite"),
        "umbel.app.backends.native:NativeBackend",
    ),
}
"""The classes that stand for umbel's own result backends, by the schemes of their URLs."""

_GROUPS = ("umbel.result_backends", "celery.result_backends")


def by_name(backend: Any = None, loader: Any = None, extension_namespace: str = _GROUPS[1]) -> Any:
    """The class of a backend: by an entry point, a name the loader gives, or a dotted path.

    Raises:
        ImproperlyConfigured: There is no such class.
    """
    if not isinstance(backend, str | None):
        return backend
    name = backend or "disabled"
    loader = loader or get_current_app().loader
    given: dict[str, Any] = {
        **BACKEND_ALIASES,
        **(loader.app.conf.override_backends or {}),
        **(getattr(loader, "override_backends", None) or {}),
    }
    for group in dict.fromkeys((extension_namespace, *_GROUPS)):
        for point in entry_points(group=group, name=name):
            return point.load()
    try:
        found = symbol_by_name(given.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
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
    """The class of a backend and the URL that it is told: ``name``, ``name://…`` or
    ``name+url``."""
    if not isinstance(backend, str) or "://" not in backend:
        return by_name(backend, loader), None
    scheme = backend.partition("://")[0]
    if "+" in scheme and drivers.is_own(backend):
        # The whole of it is a scheme of ours: redis+socket, cache+memory.
        return by_name(drivers.driver_of(backend), loader), backend
    if "+" in scheme:
        name, url = backend.split("+", 1)
        return by_name(name, loader), url
    return by_name(scheme, loader), backend
