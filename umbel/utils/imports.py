"""Import by name.

Source:
    Celery reference, ``celery.utils.imports``: names and behaviour.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

__all__ = [
    "cwd_in_path",
    "gen_task_name",
    "import_from_cwd",
    "instantiate",
    "qualname",
    "symbol_by_name",
]


@contextmanager
def cwd_in_path() -> Generator[None]:
    """Search the working directory first, meanwhile."""
    here = os.getcwd()  # noqa: PTH109 - pathlib costs import time that every producer would pay
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def import_from_cwd(
    module: str, imp: Callable[..., ModuleType] | None = None, package: str | None = None
) -> ModuleType:
    """Import a module, with ``imp`` if given; the working directory is searched first."""
    with cwd_in_path():
        return (imp or importlib.import_module)(module, package=package)


def qualname(obj: object) -> str:
    """The module and name of a class, or of an object's class.

    >>> qualname(OSError())
    'builtins.OSError'
    """
    found = obj if hasattr(obj, "__name__") else type(obj)
    module = getattr(found, "__module__", None)
    name = getattr(found, "__qualname__", None) or getattr(found, "__name__", repr(found))
    return f"{module}.{name}" if module else str(name)


# Any: whatever has that name.
def symbol_by_name(
    name: Any,
    aliases: Mapping[str, Any] | None = None,
    imp: Callable[..., ModuleType] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """What ``module:attribute`` or ``module.attribute`` names; what is no text is what it is.

    Args:
        aliases: Other names for such names.
        imp: Imports the module; by default it is looked for in the working directory first.
        package: For relative names, and for names without a module.
        sep: Before the attribute, where there is no colon.
        default: Instead of an error.
        kwargs: For ``imp``.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such attribute.

    >>> symbol_by_name("os.path:join") is os.path.join
    True
    >>> symbol_by_name("fast", {"fast": "os.path:join"}).__name__
    'join'
    """
    if not isinstance(name, str):
        return name
    named = (aliases or {}).get(name) or name
    if not isinstance(named, str):
        return named
    module, colon, attribute = named.partition(":")
    if not colon:
        module, _, attribute = named.rpartition(sep)
    if not module:
        module, attribute = (package, attribute) if package else (attribute, "")
    try:
        found: Any = (imp or import_from_cwd)(module, package=package, **kwargs)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default
    return found


def instantiate(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call what has that name.

    >>> instantiate("fractions:Fraction", 1, 2)
    Fraction(1, 2)
    """
    return symbol_by_name(name)(*args, **kwargs)


class Namer(Protocol):
    """The part of an app that :func:`gen_task_name` asks."""

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task of that function."""
        ...


def gen_task_name(app: Namer, name: str, module_name: str | None) -> str:
    """The name that ``app`` gives a task of function ``name`` in a module; None: the script."""
    return app.gen_task_name(name, module_name or "__main__")
