"""Answering ``inspect ping``: so that a scheduler can be seen to live, and to be stuck.

Source:
    Celery user guide, Periodic Tasks, and ``beat_enable_remote_control``: the node
    ``celerybeat@host`` answers pings and nothing else; it is silent when the schedule has not
    been looked at for long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from umbel.app.operating.listening import keep_listening
from umbel.app.operating.mailbox import mailbox_of
from umbel.exceptions import (
    BrokerUnavailable,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    OperationalError,
)
from umbel.utils.nodenames import default_nodename, host_format
from umbel.wire.pidbox import decode_command, encode_reply, is_for, reply_exchange

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.model import Message
    from umbel.protocols import Fanout

__all__ = ["Answering", "beat_nodename"]

logger = logging.getLogger("umbel.beat")

_NAME = "celerybeat"
_LEAST_AGE = 60.0
"""Seconds for which a schedule need never be looked at, however short its interval is."""
_FAREWELL = 3.0
"""Seconds that it may take to end."""


def beat_nodename(hostname: str | None = None) -> str:
    """The name that a scheduler answers to.

    >>> beat_nodename("main@a1"), beat_nodename("a1")
    ('main@a1', 'celerybeat@a1')
    """
    return host_format(default_nodename(hostname, _NAME))


class Answering:
    """A node of remote control that answers pings, and ``umbel doctor`` what it is.

    In a thread of its own: it has to notice when the scheduler's does not move. Nothing that
    comes in here disturbs the scheduler, and other commands are for workers.
    """

    def __init__(
        self,
        app: Umbel,
        *,
        hostname: str | None,
        interval: float,
        looked_at: Callable[[], float],
        scheduler: str = "umbel",
    ) -> None:
        """Make one.

        Args:
            hostname: The node's name, or a part of it.
            interval: Seconds at most between two looks at the schedule.
            looked_at: When the last look was, on the clock's ``monotonic``.
            scheduler: What it answers to ``scheduler``: ``umbel``, of which any number may run, or
                the name of a class that is made for Celery.
        """
        self.hostname = beat_nodename(hostname)
        self._app = app
        self._looked_at = looked_at
        self._answers = {"ping": "pong", "scheduler": scheduler}
        most: float | None = app.conf.beat_remote_control_max_tick_age
        self._most = max(2 * interval, _LEAST_AGE) if most is None else most
        self._thread = threading.Thread(target=self._run, name="umbel-beat-ping", daemon=True)
        self._ending = threading.Event()
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until it has, but not for long."""
        self._ending.set()
        if self._serving is not None:
            loop, ending = self._serving
            # It may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ending.set)
        self._thread.join(_FAREWELL)

    @property
    def max_tick_age(self) -> float:
        """Seconds that a look at the schedule may be ago; 0: any number."""
        return self._most

    def tick_age(self) -> float:
        """Seconds since the last look at the schedule."""
        return self._app.wall_clock.monotonic() - self._looked_at()

    def is_stuck(self) -> bool:
        """Whether nobody has looked at the schedule for too long."""
        return bool(self._most) and self.tick_age() > self._most

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        ending = asyncio.Event()
        self._serving = asyncio.get_running_loop(), ending
        if self._ending.is_set():
            return
        serving = asyncio.create_task(self._serve())
        await ending.wait()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    async def _serve(self) -> None:
        fanout = self._app.make_fanout()
        queue = mailbox_of(self._app.conf).queue(self.hostname)
        try:
            await keep_listening(
                fanout,
                queue,
                partial(self._hear, fanout),
                clock=self._app.wall_clock,
                deaf=partial(logger.warning, "beat: Pings cannot be answered at the moment: %s"),
            )
        finally:
            await fanout.close()

    async def _hear(self, fanout: Fanout, message: Message) -> None:
        app = self._app
        try:
            command, clock = decode_command(message, accept=app.accept)
            app.clock.adjust(clock)
            asked = command.method in self._answers and is_for(command, self.hostname)
        except (ContentDisallowed, DecodeError) as error:
            logger.error("beat: Cannot decode message: %r", error)  # noqa: TRY400 - it is said above
            return
        if not asked or command.reply_to is None:
            return
        if self.is_stuck():
            # No answer is the only one that a probe takes for an error.
            logger.warning(
                "beat: Not answering a ping: the schedule has not been looked at for %.0f seconds.",
                self.tick_age(),
            )
            return
        try:
            reply = encode_reply(
                self.hostname,
                {"ok": self._answers[command.method]},
                to=command.reply_to,
                ticket=command.ticket,
                serializer=app.conf.task_serializer,
                clock=app.clock.forward(),
            )
            await fanout.broadcast(reply_exchange(reply.exchange), [reply])
        except (BrokerUnavailable, OperationalError, EncodeError) as error:
            logger.warning("beat: Could not answer a ping: %s", error)
