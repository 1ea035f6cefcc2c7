"""Signals by their names.

Source:
    Celery internals reference, ``celery.platforms``: names and behaviour.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, cast

__all__ = [
    "SIGMAP",
    "SIGNAMES",
    "Signals",
    "get_signal",
    "ignore_signal",
    "install_signal_handler",
    "reset_signal",
    "signal_name",
    "signals",
]

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

SIGNAMES = {name for name in dir(signal) if name.startswith("SIG") and "_" not in name}
SIGMAP: dict[int, str] = {getattr(signal, name): name for name in SIGNAMES}
"""Number → name."""


def signal_name(signum: int) -> str:
    """The name of a signal without ``SIG``.

    Raises:
        ValueError: There is no such signal.

    >>> signal_name(15)
    'TERM'
    """
    return signal.Signals(signum).name.removeprefix("SIG")


class Signals:
    """The handlers of signals, by name; what the system does not have is passed over.

    >>> signals.supported("INT"), signals.supported("NOTHING"), signals.signum("TERM")
    (True, False, <Signals.SIGTERM: 15>)
    """

    ignored = signal.SIG_IGN
    default = signal.SIG_DFL

    def arm_alarm(self, seconds: float) -> Any:
        """Have the alarm signal sent after so many seconds."""
        if hasattr(signal, "setitimer"):
            return signal.setitimer(signal.ITIMER_REAL, seconds)
        return signal.alarm(math.ceil(seconds))

    def reset_alarm(self) -> int:
        """Have none sent; returns the seconds that were left."""
        return signal.alarm(0)

    def supported(self, name: str) -> bool:
        """Whether the system has that signal."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def signum(self, name: str | int) -> int:
        """The number of a signal, by name with or without ``SIG``.

        Raises:
            AttributeError: The system does not have it.
            TypeError: That is no name.
        """
        if isinstance(name, int):
            return name
        if not getattr(name, "isupper", bool)():
            raise TypeError("signal name must be uppercase string.")
        number: int = getattr(signal, name if name.startswith("SIG") else f"SIG{name}")
        return number

    def reset(self, *signal_names: str) -> None:
        """Let these do what they do by themselves."""
        self.update(dict.fromkeys(signal_names, self.default))

    def ignore(self, *names: str) -> None:
        """Let these do nothing."""
        self.update(dict.fromkeys(names, self.ignored))

    def __getitem__(self, name: str) -> Handler:
        return signal.getsignal(self.signum(name))

    def __setitem__(self, name: str, handler: Handler) -> None:
        try:
            signal.signal(self.signum(name), handler)
        except (AttributeError, ValueError):
            # Not on this system, or not in this thread.
            return

    def update(
        self,
        _d_: Mapping[str, Handler] | Iterable[tuple[str, Handler]] | None = None,
        **sigmap: Handler,
    ) -> None:
        """Set several handlers."""
        handlers: dict[str, Handler] = dict(cast("Any", _d_) or {})
        for name, handler in {**handlers, **sigmap}.items():
            self[name] = handler


signals = Signals()
get_signal = signals.signum
install_signal_handler = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore
