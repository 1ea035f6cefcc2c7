"""More about importing.

Source:
    Celery reference, ``celery.utils.imports``: names and behaviour.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from umbel.utils.imports import cwd_in_path, symbol_by_name

__all__ = [
    "NotAPackage",
    "find_module",
    "load_extension_class_names",
    "load_extension_classes",
    "module_file",
    "reload_from_cwd",
]

Import = Callable[[str], Any]


class NotAPackage(Exception):
    """A module was asked for below one that is no package."""


def find_module(
    module: str,
    path: object = None,  # noqa: ARG001 - documented parameter
    imp: Import | None = None,
) -> Any:
    """Import a module; the working directory is searched first.

    Args:
        imp: Imports, instead of :func:`importlib.import_module`.

    Raises:
        NotAPackage: What stands before a dot is a module without any below it.
    """
    load = imp or importlib.import_module
    with cwd_in_path():
        try:
            return load(module)
        except ImportError:
            parts = module.split(".")
            for end in range(1, len(parts)):
                package = ".".join(parts[:end])
                try:
                    found = load(package)
                except ImportError:
                    break
                if not hasattr(found, "__path__"):
                    raise NotAPackage(package) from None
            raise


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], Any] | None = None) -> Any:
    """Import a module anew; the working directory is searched first."""
    with cwd_in_path():
        return (reloader or importlib.reload)(module)


def module_file(module: ModuleType) -> str:
    """The file that a module is written in.

    Raises:
        AttributeError: It is in none.
    """
    name = module.__file__
    if name is None:
        raise AttributeError(f"module {module.__name__!r} is not in a file")
    return name[:-1] if name.endswith(".pyc") else name


@cache
def load_extension_class_names(namespace: str) -> tuple[tuple[str, str], ...]:
    """The entry points of a group, each with the path of what it names."""
    return tuple((found.name, found.value) for found in entry_points(group=namespace))


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """The entry points of a group, each with what it names; warns of what cannot be imported."""
    for name, path in load_extension_class_names(namespace):
        try:
            found = symbol_by_name(path)
        except (ImportError, SyntaxError) as error:
            warnings.warn(f"Cannot load {namespace} extension {path!r}: {error!r}", stacklevel=2)
        else:
            yield name, found
