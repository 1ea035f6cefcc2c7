"""Showing the outside world how a worker is: HTTP, a file, systemd."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from umbel.protocols import Clock
from umbel.worker.health.http import Health, serving
from umbel.worker.health.pulse import Pulse
from umbel.worker.health.systemd import Systemd
from umbel.worker.options import WorkerOptions
from umbel.worker.state import State

__all__ = ["Vitals"]

logger = logging.getLogger(__name__)

_BEAT = 5.0
"""Seconds between two beats in the file."""


class Vitals:
    """Everything that is told without being asked, and answered when asked."""

    def __init__(
        self, options: WorkerOptions, pulse: Pulse, state: State, *, clock: Clock, systemd: Systemd
    ) -> None:
        self._options = options
        self._pulse = pulse
        self._state = state
        self._clock = clock
        self._systemd = systemd
        self._changed = asyncio.Event()
        self.port: int | None = None
        """Where health is served, if it is."""

    def ready(self) -> None:
        """It takes messages from now on."""
        self._pulse.start()
        self._changed.set()
        self._systemd.tell("READY=1", f"STATUS={self._options.hostname} takes messages")

    def ending(self, how: str, *, restarts: bool) -> None:
        """It has been asked to end.

        Args:
            restarts: Whether a new worker is to go on in this process. Then systemd hears of a
                reload: what says that it stops is killed after ``TimeoutStopSec``.
        """
        self._pulse.end()
        self._changed.set()
        if restarts:
            # On Linux, where systemd is, this is the clock that it means.
            now = int(self._clock.monotonic() * 1e6)
            self._systemd.tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=restarting")
        else:
            self._systemd.tell("STOPPING=1", f"STATUS={how} shutdown")

    @asynccontextmanager
    async def shown(self) -> AsyncGenerator[None]:
        """Show it as long as the context lasts.

        Raises:
            ImproperlyConfigured: The port is taken.
        """
        options = self._options
        async with AsyncExitStack() as stack:
            if options.health_port is not None:
                self.port = await stack.enter_async_context(
                    serving(
                        options.health_host,
                        options.health_port,
                        live=lambda: self._health("ok"),
                        ready=lambda: self._health(self._pulse.complaint or "ok"),
                    )
                )
            async with asyncio.TaskGroup() as group:
                beating: list[asyncio.Task[None]] = []
                if options.heartbeat_file is not None:
                    beating.append(group.create_task(self._beat(Path(options.heartbeat_file))))
                if self._systemd.watchdog is not None:
                    beating.append(group.create_task(self._reassure(self._systemd.watchdog)))
                try:
                    yield
                finally:
                    for task in beating:
                        task.cancel()

    def _health(self, status: str) -> Health:
        return Health(status, self._options.hostname, len(self._state.active), self._state.settled)

    async def _beat(self, path: Path) -> None:
        """Write the file anew every few seconds; whoever looks sees by its age that we live."""
        draft = path.with_name(f"{path.name}.new")
        complained = False
        try:
            while True:
                try:
                    draft.write_text(f"{self._pulse.complaint or 'ready'}\n", "utf-8")
                    draft.replace(path)
                except OSError as error:
                    # Once: the probe will notice the rest.
                    if not complained:
                        logger.error("Cannot write the heartbeat to %s: %s", path, error)  # noqa: TRY400
                    complained = True
                await self._a_while()
        finally:
            for each in (path, draft):
                with suppress(OSError):
                    each.unlink(missing_ok=True)

    async def _a_while(self) -> None:
        """Until the next beat is due, or there is something new to say."""
        resting = asyncio.create_task(self._clock.sleep(_BEAT))
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((resting, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            changing.cancel()
        self._changed.clear()

    async def _reassure(self, seconds: float) -> None:
        while True:
            self._systemd.tell("WATCHDOG=1")
            await self._clock.sleep(seconds / 2)
