"""The two libraries of greenlets, as far as a pool needs them. Imported in patched processes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

__all__ = ["PATCHING", "Hub", "HubKind", "make_hub"]

HubKind = Literal["gevent", "eventlet"]

PATCHING: dict[HubKind, str] = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning);"
        "import eventlet; eventlet.monkey_patch(); warnings.resetwarnings()"
    ),
}
"""What an interpreter does first, so that everything that it imports then is cooperative."""


class Hub(Protocol):
    """Runs greenlets in one thread."""

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """Call in a greenlet of its own, soon."""

    def current(self) -> Any:
        """The greenlet that runs."""
        ...

    def from_outside(self, function: Callable[..., object], *args: Any) -> None:
        """Call where no greenlet runs, so that it may throw into any."""

    def start_thread(self, function: Callable[[], object]) -> None:
        """Call in a thread of the operating system."""


class _Gevent:
    def __init__(self) -> None:
        self._gevent: Any = importlib.import_module("gevent")
        self._monkey: Any = importlib.import_module("gevent.monkey")

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        self._gevent.spawn(function, *args)

    def current(self) -> Any:
        return self._gevent.getcurrent()

    def from_outside(self, function: Callable[..., object], *args: Any) -> None:
        self._gevent.get_hub().loop.run_callback(function, *args)

    def start_thread(self, function: Callable[[], object]) -> None:
        self._monkey.get_original("_thread", "start_new_thread")(function, ())


class _Eventlet:
    def __init__(self) -> None:
        self._eventlet: Any = importlib.import_module("eventlet")
        self._hubs: Any = importlib.import_module("eventlet.hubs")
        self._patcher: Any = importlib.import_module("eventlet.patcher")

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        self._eventlet.spawn_n(function, *args)

    def current(self) -> Any:
        return self._eventlet.getcurrent()

    def from_outside(self, function: Callable[..., object], *args: Any) -> None:
        self._hubs.get_hub().schedule_call_global(0, function, *args)

    def start_thread(self, function: Callable[[], object]) -> None:
        thread = self._patcher.original("threading").Thread
        thread(target=function, daemon=True).start()


def make_hub(kind: HubKind) -> Hub:
    """The hub of this process.

    Raises:
        ImportError: The library is not installed.
    """
    return _Gevent() if kind == "gevent" else _Eventlet()
