"""Ending: who asked for it, how urgently, and the signals of the OS that ask."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Literal, TypeAlias

__all__ = ["How", "Shutdown"]

How: TypeAlias = Literal["warm", "cold"]
"""Warm: what runs may finish. Cold: it may not."""


class Shutdown:
    """The wish to end. It can become more urgent, never less."""

    def __init__(self, told: Callable[[How, str], None]) -> None:
        """Make one.

        Args:
            told: Called once for each degree, with the name of what asked (``SIGTERM``).
        """
        self._told = told
        self._asked = asyncio.Event()
        self._cold = asyncio.Event()

    @property
    def is_cold(self) -> bool:
        """Whether what runs may not finish."""
        return self._cold.is_set()

    def ask(self, how: How, reason: str = "") -> None:
        """End, warm or cold."""
        if how == "cold" and not self._cold.is_set():
            self._told(how, reason)
            self._cold.set()
        elif not self._asked.is_set():
            self._told(how, reason)
        self._asked.set()

    async def asked(self) -> None:
        """Wait until anybody asks."""
        await self._asked.wait()

    async def cold(self) -> None:
        """Wait until anybody asks for a cold one."""
        await self._cold.wait()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the signals of the OS ask: TERM and INT for warm, QUIT and a second INT for cold.

        ``REMAP_SIGTERM=SIGQUIT`` in the environment makes TERM as urgent as QUIT.

        Source:
            Celery user guide, Workers, "Stopping the worker".
        """
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        _on(loop, "SIGTERM", lambda: self.ask("cold" if remapped else "warm", "SIGTERM"))
        _on(loop, "SIGINT", self._interrupted)
        _on(loop, "SIGQUIT", lambda: self.ask("cold", "SIGQUIT"))
        # Not served yet; their default would end the process on the spot.
        for name in ("SIGHUP", "SIGUSR1"):
            _on(loop, name, lambda: None)

    def _interrupted(self) -> None:
        self.ask("cold" if self._asked.is_set() else "warm", "SIGINT")


def _on(loop: asyncio.AbstractEventLoop, name: str, act: Callable[[], None]) -> None:
    number = getattr(signal, name, None)
    if number is None:
        return
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:
        # Windows' loops have no such method; this handler runs between two bytecodes instead.
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(act))
