"""Soft time limits in a child, whose parent says when."""

from __future__ import annotations

import signal

from umbel.exceptions import SoftTimeLimitExceeded
from umbel.model import Request
from umbel.pools.prefork.slots import NONE, Slots
from umbel.protocols import Receiver

__all__ = ["SlotInterrupts"]


class SlotInterrupts:
    """Raises ``SoftTimeLimitExceeded`` in the main thread when SIGUSR1 comes, if that is meant for
    the request that is running: the parent writes down which before it sends the signal, and
    sends it again until it is heard.

    A signal interrupts system calls that wait, as no exception from another thread could; and
    SIGUSR1 rather than a timer of the process, which is SIGALRM, leaves that one to user code.

    Source:
        Celery documents SIGUSR1 as the signal of soft time limits.
    """

    every = False

    def __init__(self, slots: Slots, slot: int) -> None:
        self._overtime = slots.overtime
        self._slot = slot
        self._key: int | None = None
        self._receiver: Receiver | None = None

    def open(self) -> None:
        """Listen."""
        signal.signal(signal.SIGUSR1, self._heard)

    def begin(self, request: Request) -> None:
        """From now on a signal is heard, if it is meant for ``request``."""
        self._key = request.key

    def end(self) -> None:
        """No signal is heard any more."""
        self._key = None

    def divert(self, receiver: Receiver | None) -> None:
        """Let ``receiver`` see to what comes."""
        self._receiver = receiver

    def _heard(self, _number: int, _frame: object) -> None:
        if self._key is None or self._overtime[self._slot] != self._key:
            return
        self._overtime[self._slot] = NONE
        if self._receiver is None:
            raise SoftTimeLimitExceeded
        self._receiver(SoftTimeLimitExceeded())
