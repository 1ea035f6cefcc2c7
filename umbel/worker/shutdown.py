"""Ending: who asked for it, how urgently, and the signals of the OS that ask."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Literal, TypeAlias

from umbel.protocols import Clock, Occupied

__all__ = ["How", "Shutdown"]

How: TypeAlias = Literal["warm", "cold"]
"""Warm: what runs may finish. Cold: it may not."""

_STUCK = 15.0
"""Seconds after which a cold shutdown that goes on is taken to be stuck: being asked once more
then ends the process on the spot. Longer than all its steps have together, but for a server that
does not answer; shorter than orchestrators wait before they kill."""
_AFTERMATH = 5.0
"""Seconds after the end for which signals are ignored."""
_EX_OK = 0
_EX_FAILURE = 1


class Shutdown:
    """The wish to end. It can become more urgent, never less.

    Source:
        Celery user guide, Workers, "Stopping the worker"; exit codes and what is printed as
        ``celery.apps.worker`` has them.
    """

    def __init__(
        self,
        told: Callable[[How, str, int], None],
        *,
        say: Callable[[str], None],
        clock: Clock,
        grace: float = 0.0,
    ) -> None:
        """Make one.

        Args:
            told: Called once for each degree, with the name of what asked (``SIGTERM``) and the
                exit code that it means.
            say: Tells whoever sits at the terminal.
            grace: Seconds that what runs has left when a cold one is asked for.
        """
        self._told = told
        self._say = say
        self._clock = clock
        self._grace = grace
        self._asked = asyncio.Event()
        self._cold = asyncio.Event()
        self._hurried = asyncio.Event()
        self._hurried_at = 0.0
        self._over_since = 0.0
        self._occupied: Occupied | None = None
        self._remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        # As the handlers of signals know it, which may be ahead of the loop.
        self._heard_any = self._has_warned = False
        self._cold_since: float | None = None
        self.exit_code = _EX_OK
        """What the process is to end with."""
        self.restarts = False
        """Whether a new worker is to take this one's place."""

    @property
    def is_cold(self) -> bool:
        """Whether what runs may not finish."""
        return self._cold.is_set()

    @property
    def grace(self) -> float:
        """Seconds that what runs has left; counted from the signal that asked for a cold one."""
        if self._cold_since is None:
            return self._grace
        return max(0.0, self._grace - (self._clock.monotonic() - self._cold_since))

    def ask(self, how: How, reason: str = "", *, exit_code: int | None = None) -> None:
        """End, warm or cold.

        Args:
            exit_code: None: 0 for warm, 1 for cold.
        """
        if exit_code is None:
            exit_code = _EX_FAILURE if how == "cold" else _EX_OK
        if how == "cold" and not self._cold.is_set():
            self._advance(how, reason, exit_code)
            self._cold.set()
        elif not self._asked.is_set():
            self._advance(how, reason, exit_code)
        elif self.restarts:
            # For good after all: whoever asks now does not want a new one.
            self.restarts = False
            self._advance(how, reason, exit_code)
        self._asked.set()

    def fall_short(self) -> None:
        """What has ended could not be stored or acknowledged: that is no success, whoever asked."""
        if not self.restarts:
            self.exit_code = max(self.exit_code, _EX_FAILURE)

    def restart(self) -> None:
        """End warm, and let a new worker begin with the same arguments."""
        if not self._asked.is_set():
            self.restarts = True
            self._say(f"Restarting umbel worker ({' '.join(sys.argv)})")
            self.ask("warm", "SIGHUP")

    async def asked(self) -> None:
        """Wait until anybody asks."""
        await self._asked.wait()

    async def cold(self) -> None:
        """Wait until anybody asks for a cold one."""
        await self._cold.wait()

    async def hurried(self) -> None:
        """Wait until anybody asks for a cold one a second time: no more seconds of grace."""
        await self._hurried.wait()

    def listen(self, loop: asyncio.AbstractEventLoop, occupied: Occupied | None = None) -> None:
        """Let the signals of the OS ask: TERM and INT for warm, QUIT and a second INT for cold,
        HUP for a restart.

        ``REMAP_SIGTERM=SIGQUIT`` in the environment makes TERM as urgent as QUIT.

        Args:
            occupied: What may keep the loop from hearing them.
        """
        self._occupied = occupied
        self._on(loop, "SIGTERM", self._quit if self._remapped else self._terminated)
        self._on(loop, "SIGINT", self._interrupted)
        self._on(loop, "SIGQUIT", self._quit)
        # At a terminal HUP says that it was closed, and nobody wants a worker in the background.
        at_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._on(loop, "SIGHUP", self._terminated if at_terminal else lambda _: self.restart())

    def over(self) -> None:
        """All is done: what asks in the next moments has nothing left to ask for."""
        self._over_since = self._clock.monotonic()

    def _on(self, loop: asyncio.AbstractEventLoop, name: str, act: Callable[[str], None]) -> None:
        number = getattr(signal, name, None)
        if number is None:
            return

        def heard(_number: int, _frame: FrameType | None) -> None:
            if not loop.is_closed():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(act, name)
                if self._occupied is not None:
                    self._hasten(self._occupied, name)
            elif self._clock.monotonic() - self._over_since > _AFTERMATH:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        # Not the loop's own handlers: with the loop they go, and then the next signal of a storm
        # kills the process before it has said how it ended.
        signal.signal(number, heard)

    def _hasten(self, occupied: Occupied, name: str) -> None:
        """What cannot wait until the loop turns again. May raise inside the task that runs."""
        again, self._heard_any = self._heard_any, self._heard_any or name in {"SIGTERM", "SIGINT"}
        if not (
            name == "SIGQUIT"
            or (name == "SIGTERM" and self._remapped)
            or (name == "SIGINT" and again)
        ):
            occupied.hold()
            if name == "SIGINT":
                # Unless the task is just writing where this is said: then it comes later.
                with suppress(RuntimeError):
                    self._warn()
        elif self._cold_since is None:
            self._cold_since = self._clock.monotonic()
            occupied.strike(self._grace)
        else:
            occupied.strike(0)

    def _advance(self, how: How, reason: str, exit_code: int) -> None:
        self.exit_code = max(self.exit_code, exit_code)
        self.restarts = self.restarts and self.exit_code == _EX_OK
        self._told(how, reason, self.exit_code)

    def _terminated(self, name: str) -> None:
        self.ask("warm", name)

    def _interrupted(self, name: str) -> None:
        if self._asked.is_set() and not self.restarts:
            self._quit(name)
            return
        self._warn()
        self.ask("warm", name, exit_code=_EX_FAILURE)

    def _warn(self) -> None:
        if not self._has_warned:
            self._say(
                "worker: Hitting Ctrl+C again will initiate cold shutdown, "
                "terminating all running tasks!"
            )
            self._has_warned = True

    def _quit(self, name: str) -> None:
        if not self._cold.is_set():
            self.ask("cold", name)
        elif not self._hurried.is_set():
            self._say("Waiting gracefully for cold shutdown to complete...")
            self._hurried_at = self._clock.monotonic()
            self._hurried.set()
        elif self._clock.monotonic() - self._hurried_at > _STUCK:
            self._say("worker: The cold shutdown is stuck: ending now.")
            # What it held returns to the queues when its leases run out; children end with it.
            os._exit(_EX_FAILURE)
