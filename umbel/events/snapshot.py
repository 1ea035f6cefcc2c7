"""Pictures of a cluster, taken at intervals, for example for a database.

Source:
    Celery reference, ``celery.events.snapshot``: names, arguments and order.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from umbel.clock import SystemClock
from umbel.exceptions import OperationalError
from umbel.signals import Signal

__all__ = ["Polaroid", "evcam"]

logger = logging.getLogger("celery.evcam")

_CLOCK = SystemClock()
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Polaroid:
    """A camera. To be subclassed: :meth:`on_shutter` gets the state."""

    shutter_signal = Signal(("state",), name="shutter_signal")
    cleanup_signal = Signal((), name="cleanup_signal")
    clear_after: bool = False
    """Whether everything is forgotten after each picture."""

    def __init__(
        self,
        state: Any,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        """Make one.

        Args:
            freq: Seconds between two pictures.
            maxrate: The most pictures: a number a second, or text such as ``"10/m"``.
            cleanup_freq: Seconds between two calls of :meth:`on_cleanup`.
            timer: Has ``call_repeatedly``; None: :meth:`tick` is called by who runs it.
        """
        self.app = app
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer
        self.logger = logger
        self.maxrate = maxrate
        self._least = 0.0 if not maxrate else 1.0 / per_second(maxrate)
        self._taken = -self._least
        self._next = _CLOCK.monotonic() + freq
        self._next_cleanup = _CLOCK.monotonic() + cleanup_freq
        self._entries: list[Any] = []

    def install(self) -> None:
        """Have the timer take pictures."""
        if self.timer is not None:
            self._entries = [
                self.timer.call_repeatedly(self.freq, self.capture),
                self.timer.call_repeatedly(self.cleanup_freq, self.cleanup),
            ]

    def tick(self) -> float:
        """Do what is due; returns the seconds until something is."""
        now = _CLOCK.monotonic()
        if now >= self._next:
            self._next = now + self.freq
            self.capture()
        if now >= self._next_cleanup:
            self._next_cleanup = now + self.cleanup_freq
            self.cleanup()
        return max(0.0, min(self._next, self._next_cleanup) - _CLOCK.monotonic())

    def on_shutter(self, state: Any) -> None:
        """Called with the state, which does not change meanwhile; to be overridden."""

    def on_cleanup(self) -> None:
        """Called now and then; to be overridden."""

    def cleanup(self) -> None:
        """Have old pictures removed."""
        logger.debug("Cleanup: Running...")
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def shutter(self) -> None:
        """Take a picture, unless there have been too many."""
        now = _CLOCK.monotonic()
        if now - self._taken < self._least:
            return
        self._taken = now
        logger.debug("Shutter: %s", self.state)
        self.shutter_signal.send(sender=self.state)
        self.on_shutter(self.state)

    def capture(self) -> None:
        """Take a picture of a state that stands still."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def cancel(self) -> None:
        """Take the last picture, and no more."""
        for entry in self._entries:
            entry.cancel()
        self._entries = []
        self.capture()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


def evcam(
    camera: str | Callable[..., Polaroid],
    freq: float = 1.0,
    maxrate: str | None = None,
    timer: Any = None,
    app: Any = None,
    out: Any = None,
    **_: Any,
) -> None:
    """Take pictures until interrupted.

    Args:
        camera: A class, or where there is one: ``module.Class`` or ``module:Class``.
    """
    screen = out or sys.stdout
    screen.write(f"-> evcam: Taking snapshots with {camera} (every {freq} secs.)\n")
    screen.flush()
    state = app.events.State()
    make = _found(camera) if isinstance(camera, str) else camera
    made = make(state, app=app, freq=freq, maxrate=maxrate, timer=timer)
    made.install()
    try:
        while True:
            _watch(app, state, made)
    except KeyboardInterrupt:
        return
    finally:
        made.cancel()


def _watch(app: Any, state: Any, camera: Polaroid) -> None:
    receiver = app.events.Receiver(handlers={"*": state.event})
    receiver.on_idle = camera.tick
    try:
        for _ in receiver.itercapture():
            camera.tick()
    except OperationalError as error:
        logger.warning("Lost the connection, trying again: %s", error)
        app.portal.call(_CLOCK.sleep, 2.0)


def per_second(rate: str | float) -> float:
    """A rate as a number a second.

    >>> per_second("10/m") * 60
    10.0

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"\s*([\d.]+)\s*(?:/\s*([smh]))?\s*", str(rate))
    if found is None or not float(found[1]):
        raise ValueError(f"{rate!r} is no rate; rates are 10, '10/s', '10/m' or '10/h'")
    return float(found[1]) / _SECONDS[found[2] or "s"]


def _found(path: str) -> Callable[..., Polaroid]:
    module, _, name = path.replace(":", ".").rpartition(".")
    made: Callable[..., Polaroid] = getattr(import_module(module), name)
    return made
