"""Find the app that a name on the command line means.

Source:
    Celery user guide, "Command Line Interface": ``-A`` takes a module, ``module:attribute`` or a
    package; which names are looked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from traceback import TracebackException
from types import ModuleType
from typing import Any

from umbel.app.base import Umbel
from umbel.app.configuring.suggestions import did_you_mean
from umbel.exceptions import ImproperlyConfigured

__all__ = ["AppNotFound", "find_app", "user_traceback"]

_ATTRIBUTES = ("app", "umbel", "celery")
_SUBMODULES = ("umbel", "celery")
_OURS = str(Path(__file__).resolve().parents[2]) + os.sep


class AppNotFound(ImproperlyConfigured):
    """There is no app of that name."""


def find_app(name: str) -> Umbel:
    """The app that ``module``, ``module:attribute``, ``module.attribute`` or a package names.

    In a module, ``app`` is looked for, then ``umbel`` and ``celery``; in a package, also its
    modules ``umbel`` and ``celery``; at last any app at all.

    Raises:
        AppNotFound: There is none; says what was looked at. Or a module fails to import; says
            where.
    """
    path, colon, attribute = name.partition(":")
    module = _import(path)
    if colon:
        return _named(module, attribute)
    if module is None:
        parent, _, last = path.rpartition(".")
        holder = _import(parent) if parent else None
        if holder is None:
            raise AppNotFound(_no_module(path))
        return _named(holder, last)
    seen: list[str] = []
    found = _look_into(module, seen)
    if found is None:
        looked = ", ".join(dict.fromkeys(seen))
        raise AppNotFound(
            f"there is no app in {path!r} ({_file(module)}). Looked for {looked}, "
            f"and for any other instance of Umbel. "
            f"Make one there: app = Umbel({path.partition('.')[0]!r}), or name it: "
            f"-A {path}:attribute."
        )
    return found


def _import(name: str) -> ModuleType | None:
    """The module, or None if there is no such module."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        # For good: what the app imports later lies there too.
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise AppNotFound(_failed(name, error)) from error
    except (Exception, SystemExit) as error:
        # The user's module: whatever it raises is reported as what it is.
        raise AppNotFound(_failed(name, error)) from error


def _failed(name: str, error: BaseException) -> str:
    return f"{name!r} cannot be imported; it fails with:\n\n{user_traceback(error)}"


def user_traceback(error: BaseException) -> str:
    """The traceback as text, without the frames of umbel and of the import system.

    Only the error itself, where nothing else is in it.
    """
    report = TracebackException.from_exception(error)
    frames = [frame for frame in report.stack if not _is_machinery(frame.filename)]
    if not frames:
        return str(error)
    report.stack[:] = frames
    report.__cause__ = report.__context__ = None
    return "".join(report.format()).rstrip()


def _is_machinery(file: str) -> bool:
    return file.startswith(("<frozen importlib", _OURS)) or f"{os.sep}importlib{os.sep}" in file


def _no_module(name: str) -> str:
    top, _, rest = name.partition(".")
    here = Path.cwd()
    near = [
        entry.stem
        for entry in here.iterdir()
        if entry.suffix == ".py" or (entry.is_dir() and any(entry.glob("*.py")))
    ]
    question = "" if rest and top in near else did_you_mean(top, near)
    return f"there is no module {name!r} in {here} or on sys.path.{question}"


def _named(module: ModuleType | None, attribute: str) -> Umbel:
    if module is None:
        raise AppNotFound("the part of -A before ':' is not the name of a module.")
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            question = did_you_mean(part, _public(found))
            raise AppNotFound(f"{module.__name__!r} ({_file(module)}) has no {part!r}.{question}")
        found = getattr(found, part)
    if isinstance(found, ModuleType):
        inner = _look_into(found, [])
        if inner is not None:
            return inner
    if not isinstance(found, Umbel):
        raise AppNotFound(f"{module.__name__}:{attribute} is not an app but {_description(found)}.")
    return found


def _look_into(module: ModuleType, seen: list[str]) -> Umbel | None:
    for attribute in _ATTRIBUTES:
        seen.append(f"{module.__name__}:{attribute}")
        found = getattr(module, attribute, None)
        if isinstance(found, Umbel):
            return found
        if _is_celerys(found):
            raise AppNotFound(
                f"{module.__name__}:{attribute} is {_description(found)}. "
                "Make it umbel's: from umbel import Celery"
            )
    if hasattr(module, "__path__"):
        for submodule in _SUBMODULES:
            inner = _import(f"{module.__name__}.{submodule}")
            if inner is not None and inner is not module:
                found = _look_into(inner, seen)
                if found is not None:
                    return found
    return next((value for value in vars(module).values() if isinstance(value, Umbel)), None)


def _is_celerys(found: object) -> bool:
    return any(
        base.__module__.startswith("celery.") and base.__name__ == "Celery"
        for base in type(found).__mro__
    )


def _public(holder: object) -> Iterable[str]:
    return (name for name in dir(holder) if not name.startswith("_"))


def _description(found: object) -> str:
    kind = type(found)
    return f"a {kind.__module__}.{kind.__qualname__}"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "no file"
