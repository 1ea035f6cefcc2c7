"""The same lines of code, run with Celery's module and with what stands for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from umbel.compat.alias import Missing, look_up


class StandIn:
    """A module of the alias, where the real Celery is installed and the alias is refused."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        try:
            return look_up(self.__name__, name)
        except Missing as missing:
            raise AttributeError(str(missing)) from None


def celerys(module: str, lines: str) -> Any:
    """What the lines leave in ``r`` with Celery's module as ``m``; what they raise, as text."""
    return _run(importlib.import_module(module), lines)


def ours(module: str, lines: str) -> Any:
    """Likewise with what umbel has in its place."""
    return _run(StandIn(module), lines)


def _run(module: Any, lines: str) -> Any:
    names: dict[str, Any] = {"m": module, "box": SimpleNamespace}
    with TemporaryDirectory() as folder:
        names["tmp"] = Path(folder)
        return _outcome(lines, names)


def _outcome(lines: str, names: dict[str, Any]) -> Any:
    try:
        if "\n" in lines or "r = " in lines:
            exec(lines, names)
            return names["r"]
        return eval(lines, names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
