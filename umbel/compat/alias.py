"""``import celery`` means umbel, for those who ask for it.

::

    import umbel

    umbel.install_as_celery()

    from celery import Celery, shared_task

A module of the alias has no code of its own: a name is looked up where :mod:`umbel.compat.names`
says, at its first use, and is the same object under both paths.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from dis import opname
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError, distribution
from inspect import currentframe
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from umbel.app.defaults.foreign import allow as allow_foreign_settings
from umbel.compat.names import HOMES, NAMES, REPLACEABLE, is_package
from umbel.compat.release import __version__
from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import symbol_by_name

__all__ = ["VARIABLE", "Missing", "install", "look_up"]

VARIABLE = "UMBEL_AS_CELERY"
"""Set for the processes that this one starts: pool processes read the app's modules themselves."""


def install() -> None:
    """From now on, here and in processes started from here, ``import celery`` means umbel.

    What is documented of ``amqp``, ``billiard``, ``kombu`` and ``vine`` means umbel's too, unless
    the real ones can be imported. Settings of other packages are accepted. A second call does
    nothing.

    Raises:
        ImproperlyConfigured: A real Celery is installed, or something else is called ``celery``.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    _refuse_beside_celery()
    beside = [root for root in ("amqp", "billiard", "kombu", "vine") if _origin(root) is None]
    sys.meta_path.insert(0, _Finder(("celery", *beside)))
    allow_foreign_settings()
    os.environ[VARIABLE] = "1"


def _refuse_beside_celery() -> None:
    try:
        found = f"Celery {distribution('celery').version} is installed"
    except PackageNotFoundError:
        origin = _origin("celery")
        if origin is None:
            return
        found = f"'import celery' means {origin}"
    raise ImproperlyConfigured(
        f"umbel cannot stand for Celery here, because {found}: both would be called 'celery'. "
        "Uninstall it, or rename it if it is yours; or leave the alias, and import from umbel."
    )


def _origin(module: str) -> str | None:
    """Where a top-level module comes from; None: there is none, or a folder without code."""
    if module in sys.modules:
        return str(getattr(sys.modules[module], "__file__", module))
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.loader is None else spec.origin


class _StandIn(ModuleType):
    """A module of Celery's, with umbel's objects in it."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return _public_names(self.__name__)
        try:
            value = look_up(self.__name__, name)
        except Missing as missing:
            # ``hasattr`` and ``getattr`` expect the one, ``from … import`` tells only the other.
            if _is_import_from(currentframe()):
                raise ImportError(str(missing), name=self.__name__) from None
            raise AttributeError(str(missing), name=name, obj=self) from None
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        path = f"{self.__name__}.{name}"
        if path in REPLACEABLE:
            module, _, attribute = NAMES[path].partition(":")
            setattr(importlib.import_module(module), attribute, value)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *_public_names(self.__name__)})


class Missing(Exception):
    """umbel does not have a name of Celery's."""


def look_up(module: str, name: str) -> Any:
    """What ``from module import name`` gives under the alias.

    Raises:
        Missing: There is no such name; says so.
    """
    if module not in HOMES:
        raise Missing(_sentence(module))
    path = f"{module}.{name}"
    if path in NAMES:
        return symbol_by_name(NAMES[path])
    for home in HOMES[module]:
        found = importlib.import_module(home)
        if name in found.__all__:
            return getattr(found, name)
    if path in HOMES and module in sys.modules:
        return importlib.import_module(path)
    raise Missing(_sentence(path))


def _sentence(path: str) -> str:
    package = path.partition(".")[0].replace("celery", "Celery")
    return (
        f"umbel, which stands for {package} here, has no {path}. "
        "What it has is listed in umbel/compat/names.py."
    )


def _public_names(module: str) -> list[str]:
    own = (path.rpartition(".")[2] for path in NAMES if path.rpartition(".")[0] == module)
    moved = (name for home in HOMES[module] for name in importlib.import_module(home).__all__)
    return sorted({name for name in (*own, *moved) if not name.startswith("_")})


def _is_import_from(asked: FrameType | None) -> bool:
    # An implementation without frames gets the interpreter's own sentence.
    frame = asked.f_back if asked is not None else None
    if frame is None:
        return False
    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) and opname[code[frame.f_lasti]] == "IMPORT_FROM"


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty stand-in."""
        return _StandIn(spec.name, f"umbel, in place of {spec.name}.")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: names are looked up when they are asked for."""


class _AsCelery(Distribution):
    """What ``importlib.metadata`` says of the alias: others look there for Celery's version."""

    def read_text(self, filename: str) -> str | None:
        """The metadata, and no other file."""
        if filename != "METADATA":
            return None
        return (
            f"Metadata-Version: 2.1\nName: celery\nVersion: {__version__}\n"
            "Summary: umbel, in place of Celery\n"
        )

    def locate_file(self, path: os.PathLike[str] | str) -> Path:
        """Where a file of the alias would lie."""
        return Path(__file__).parent / path


class _Finder(MetaPathFinder):
    """Finds the modules of the alias; says of others below them that umbel has none."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._loader = _Loader()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to load it.

        Raises:
            ModuleNotFoundError: It is a module of Celery's that umbel does not have.
        """
        if fullname.partition(".")[0] not in self._roots:
            return None
        if fullname not in HOMES:
            raise ModuleNotFoundError(_sentence(fullname), name=fullname)
        return ModuleSpec(fullname, self._loader, origin="umbel", is_package=is_package(fullname))

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """Celery's, as far as its name and version go."""
        name = None if context is None else context.name
        return [_AsCelery()] if name in {None, "celery"} else []
