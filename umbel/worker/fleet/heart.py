"""Showing that a worker lives.

Source:
    Celery user guide, Monitoring, "Worker Events": types, fields, intervals.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from umbel import signals
from umbel.events.sender import EventSender
from umbel.protocols import Clock
from umbel.utils.sysinfo import load_average

__all__ = ["INTERVAL", "Heart", "software"]

INTERVAL = 2.0
"""Seconds between two heartbeats."""


def software() -> dict[str, str]:
    """What runs here, as worker events say it."""
    # The package imports everything else; only its version is wanted here.
    from umbel import __version__

    return {"sw_ident": "py-umbel", "sw_ver": __version__, "sw_sys": platform.system()}


class Heart:
    """Sends ``worker-online``, ``worker-heartbeat`` and ``worker-offline``."""

    def __init__(
        self,
        sender: EventSender,
        *,
        interval: float,
        clock: Clock,
        active: Callable[[], int],
        processed: Callable[[], int],
    ) -> None:
        """Make one.

        Args:
            interval: Seconds.
            active: Says how many tasks run.
            processed: Says how many tasks have been started.
        """
        self._sender = sender
        self._interval = interval
        self._clock = clock
        self._active = active
        self._processed = processed
        self._software = software()

    async def beat(self) -> None:
        """Say that the worker is there, again and again, until cancelled."""
        self._send("worker-online")
        while True:
            await self._clock.sleep(self._interval)
            self._send("worker-heartbeat")

    def stop(self) -> None:
        """Say that it goes."""
        self._send("worker-offline")

    def _send(self, type: str) -> None:
        if signals.heartbeat_sent.receivers:
            signals.heartbeat_sent.send(sender=self)
        self._sender.send(
            type,
            freq=self._interval,
            active=self._active(),
            processed=self._processed(),
            loadavg=list(load_average()),
            **self._software,
        )
