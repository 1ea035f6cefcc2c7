"""Sending a worker's events: in the background, in batches, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from umbel.clock import LamportClock
from umbel.exceptions import BrokerUnavailable, EncodeError, OperationalError
from umbel.model import Message
from umbel.protocols import Clock, Fanout
from umbel.wire.events import (
    TaskEvent,
    encode_batch,
    encode_one,
    exchange_of,
    group_of,
    written,
)
from umbel.wire.news import ENCLOSED, PLAIN, SILENT, in_style

__all__ = ["EventSender", "utcoffset"]

logger = logging.getLogger(__name__)

_FULL = 64 * 1024
"""Bytes after which a message of many events is full: beyond 128 KiB each copy of it would be fresh
memory from the kernel, which costs more than to copy."""
_AT_ONCE = 8
"""Such messages that go out together."""
_MOST_KEPT = 20_000
"""Events of their own messages that wait while the broker is slow or away; the oldest go first."""
_MOST_BYTES = 16 * 1024 * 1024
"""As many bytes of events of tasks may wait."""
_BREATH = 0.02
"""Seconds in which events gather for one message."""
_UNHEARD = 0.25
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
        self.style = ENCLOSED if fanout.encloses and serializer == "json" else PLAIN
        """How events of tasks are to be written; see :mod:`umbel.wire.news`."""
        self._messages: deque[dict[str, Any]] = deque(maxlen=_MOST_KEPT)
        self._tasks: deque[bytes] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._is_away = False
        self._unheard = False
        self.tell = SILENT
        """The style of events of tasks while they are worth making, which is true; else 0."""
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
        self.tell = self.style if "task" in self.groups and not unheard else SILENT
        if self.tell:
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
            self.send_task(event)
        else:
            self._messages.append(event)
            self._more.set()

    def send_task(self, *events: TaskEvent | dict[str, Any]) -> None:
        """Send events of tasks; complete already."""
        for event in events:
            try:
                self.send_tasks(in_style(written(event), self.style))
            except EncodeError as error:
                logger.warning("Dropped an event that cannot be written: %s", error)

    def send_tasks(self, text: bytes) -> None:
        """Send events of tasks; written already, in our style, with commas between them."""
        self._tasks.append(text)
        self._bytes += len(text)
        while self._bytes > _MOST_BYTES:
            self._bytes -= len(self._tasks.popleft())
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
            batches = self._batches()
            try:
                count = await self._fanout.broadcast(self._exchange, messages + batches)
            except (BrokerUnavailable, OperationalError) as error:
                self._complain(error)
                return
            self._is_away = False
            # What was asked was the last message: of tasks, if there are any.
            if batches and count == 0:
                self._note(unheard=True)
                self._tasks.clear()
                self._bytes = 0

    def _batches(self) -> list[Message]:
        """Messages of events of tasks."""
        messages: list[Message] = []
        while self._tasks and len(messages) < _AT_ONCE:
            texts: list[bytes] = []
            size = 0
            while self._tasks and size < _FULL:
                texts.append(self._tasks.popleft())
                size += len(texts[-1])
            self._bytes -= size
            try:
                messages.append(self._batch(texts))
            except EncodeError as error:
                logger.warning("Dropped events that cannot be written: %s", error)
        return messages

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
            style=self.style,
        )

    def _complain(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("Events cannot be sent at the moment: %s", error)
        self._is_away = True
