"""Telling systemd how a worker is."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Systemd"]

logger = logging.getLogger(__name__)


class Systemd:
    """Sends what ``sd_notify`` sends; nothing where there is nobody to send it to.

    Source:
        The manual pages sd_notify(3) and sd_watchdog_enabled(3).
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET")
        # An @ stands for the zero byte of names that are not in the file system.
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self.watchdog: float | None = None
        """Seconds within which it must hear that the worker lives; None: it does not mind."""
        pid = environment.get("WATCHDOG_PID")
        microseconds = environment.get("WATCHDOG_USEC", "")
        if self._address and microseconds.isdigit() and pid in (None, "", str(os.getpid())):
            self.watchdog = int(microseconds) / 1e6 or None

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._address) and hasattr(socket, "AF_UNIX")

    def tell(self, *assignments: str) -> None:
        """Send ``READY=1`` and the like."""
        if not self.listens or self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as talk:
                talk.setblocking(False)
                talk.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            # The worker works all the same.
            logger.warning("Could not tell systemd %s: %s", ", ".join(assignments), error)
