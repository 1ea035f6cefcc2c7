"""Sending a worker's events: in the background, in batches, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from umbel.clock import LamportClock
from umbel.exceptions import BrokerUnavailable, EncodeError, OperationalError
from umbel.model import Message
from umbel.protocols import Clock, Fanout
from umbel.wire.events import encode_batch, encode_one, exchange_of, group_of, written

__all__ = ["EventSender", "utcoffset"]

logger = logging.getLogger(__name__)

_BATCH = 600
"""Most pieces in one message: a piece is one event, or the start and the end of a short task."""
_MOST_KEPT = 20_000
"""Pieces that wait while the broker is slow or away; the oldest go first."""
_BREATH = 0.01
"""Seconds in which events gather for one message."""
_UNHEARD = 1.0
"""Seconds for which events of tasks are not even made after one that nobody heard."""


def utcoffset(clock: Clock) -> float:
    """Hours that local time is behind UTC, as events say it.

    Source:
        Celery reference, ``celery.utils.time.utcoffset``.
    """
    offset = clock.now().astimezone().utcoffset()
    return 0.0 if not offset else -offset.total_seconds() / 3600


class EventSender:
    """One node's events. Nothing here waits but :meth:`run`, and nothing here raises.

    Events of tasks go out in batches (``task.multi``), all others each by itself.
    """

    def __init__(
        self,
        fanout: Fanout,
        *,
        hostname: str,
        exchange: str,
        serializer: str,
        logical_clock: LamportClock,
        clock: Clock,
        groups: Sequence[str] = ("worker",),
    ) -> None:
        """Make one.

        Args:
            groups: The groups of events that are sent; those of others are dropped.
        """
        self._fanout = fanout
        self.hostname = hostname
        self._exchange = exchange_of(exchange)
        self._serializer = serializer
        self.logical_clock = logical_clock
        self._clock = clock
        self.groups = set(groups)
        self.pid = os.getpid()
        self.utcoffset = utcoffset(clock)
        self._messages: deque[dict[str, Any]] = deque(maxlen=_MOST_KEPT)
        self._tasks: deque[bytes] = deque(maxlen=_MOST_KEPT)
        self._more = asyncio.Event()
        self._is_away = False
        self._unheard = False
        self.tells_tasks = False
        """Whether events of tasks are worth making now."""
        self._telling = asyncio.Event()
        self._note(unheard=False)

    def tell_tasks(self, wanted: bool) -> bool:
        """Send events of tasks from now on, or do not; whether that is a change."""
        if wanted == ("task" in self.groups):
            return False
        if wanted:
            self.groups.add("task")
        else:
            self.groups.discard("task")
        self._note(unheard=False)
        return True

    def heard(self) -> None:
        """Somebody has begun to listen."""
        self._note(unheard=False)

    def _note(self, *, unheard: bool) -> None:
        self._unheard = unheard
        self.tells_tasks = "task" in self.groups and not unheard
        if self.tells_tasks:
            self._telling.set()
        else:
            self._telling.clear()

    async def telling(self) -> None:
        """Wait until events of tasks are worth making."""
        await self._telling.wait()

    def send(self, type: str, **fields: Any) -> None:
        """Send an event of any type; fields that all have are added."""
        group = group_of(type)
        if group not in self.groups:
            return
        event = {
            "hostname": self.hostname,
            "utcoffset": self.utcoffset,
            "pid": self.pid,
            "clock": self.logical_clock.forward(),
            "timestamp": self._clock.time(),
            **fields,
            "type": type,
        }
        if group == "task":
            try:
                self._tasks.append(written(event))
            except EncodeError as error:
                logger.warning("Dropped an event that cannot be written: %s", error)
        else:
            self._messages.append(event)
        self._more.set()

    def send_tasks(self, events: Iterable[bytes]) -> None:
        """Send events of tasks; complete already, and written: see :mod:`umbel.wire.events`."""
        self._tasks.extend(events)
        self._more.set()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            await self._flush()
            if self._is_away or self._unheard:
                await self._clock.sleep(_UNHEARD)
                # The next events are made, to see whether somebody hears them.
                self._note(unheard=False)
            else:
                await self._clock.sleep(_BREATH)

    async def finish(self, timeout: float) -> None:
        """Send what is left, but not for long."""
        try:
            async with asyncio.timeout(timeout):
                await self._flush()
        except TimeoutError:
            # They were for whoever listens now; nothing depends on them.
            return

    async def _flush(self) -> None:
        while self._messages or self._tasks:
            messages = self._singles()
            batch = [self._tasks.popleft() for _ in range(min(_BATCH, len(self._tasks)))]
            try:
                if batch:
                    messages.append(self._batch(batch))
                count = await self._fanout.broadcast(self._exchange, messages)
            except (BrokerUnavailable, OperationalError) as error:
                self._complain(error)
                return
            except EncodeError as error:
                logger.warning("Dropped %d events that cannot be written: %s", len(batch), error)
                continue
            self._is_away = False
            # What was asked was the last message: the batch, if there is one.
            if batch and count == 0:
                self._note(unheard=True)
                self._tasks.clear()

    def _singles(self) -> list[Message]:
        messages: list[Message] = []
        while self._messages:
            event = self._messages.popleft()
            try:
                messages.append(
                    encode_one(event, exchange=self._exchange.name, serializer=self._serializer)
                )
            except EncodeError as error:
                logger.warning("Dropped an event that cannot be written: %s", error)
        return messages

    def _batch(self, events: Sequence[bytes]) -> Message:
        return encode_batch(
            events,
            group="task",
            hostname=self.hostname,
            exchange=self._exchange.name,
            serializer=self._serializer,
        )

    def _complain(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("Events cannot be sent at the moment: %s", error)
        self._is_away = True
