"""Sending events from anywhere: from clients, and from tasks.

Source:
    Celery reference, ``celery.events.dispatcher``: names and arguments.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from umbel.events.event import Event
from umbel.events.sender import utcoffset
from umbel.exceptions import OperationalError
from umbel.wire.events import encode_batch, encode_one, exchange_of, group_of, written

if TYPE_CHECKING:
    from umbel.clock import LamportClock
    from umbel.model import Message
    from umbel.protocols import Clock, Fanout

__all__ = ["EventDispatcher", "Outlet"]

_MOST_KEPT = 10_000
"""Events that wait for the broker; the oldest go first."""


class _Connections(Protocol):
    async def fanout(self) -> Fanout: ...


class _Portal(Protocol):
    def call(self, function: Callable[..., Any], *args: Any) -> Any: ...


class Outlet(Protocol):
    """What dispatchers and receivers need of an app."""

    conf: Any
    clock: LamportClock
    wall_clock: Clock

    @property
    def connections(self) -> _Connections:
        """Its clients."""
        ...

    @property
    def portal(self) -> _Portal:
        """Runs coroutines for synchronous callers."""
        ...

    @property
    def origin(self) -> str:
        """Its name."""
        ...


class EventDispatcher:
    """Sends events, each as it comes; while the broker is away they wait, up to a limit.

    Thread-safe. To be closed, or used as a context.
    """

    def __init__(
        self,
        connection: object = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: object = None,
        buffer_while_offline: bool = True,
        app: Outlet | None = None,
        serializer: str | None = None,
        groups: Iterable[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Iterable[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], object] | None = None,
    ) -> None:
        """Make one.

        Args:
            connection: Ignored, as ``channel`` and ``delivery_mode`` are: umbel has its own.
            hostname: Who sends.
            buffer_while_offline: Whether to keep what cannot be sent; else it is an error.
            groups: The groups of events that are sent; by default all.
            buffer_group: The groups of which ``buffer_limit`` events go out together.
            on_send_buffered: Called when they do.

        Raises:
            TypeError: There is no app.
        """
        if app is None:
            raise TypeError("a dispatcher needs an app: use app.events.Dispatcher")
        self.app = app
        self.connection = connection
        self.hostname = hostname or app.origin
        self.enabled = enabled
        self.buffer_while_offline = buffer_while_offline
        self.serializer: str = serializer or app.conf.event_serializer
        self.groups = set(groups or ())
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self.pid = os.getpid()
        self.on_enabled: set[Callable[[], object]] = set()
        self.on_disabled: set[Callable[[], object]] = set()
        self._exchange = exchange_of(app.conf.event_exchange)
        self._mutex = threading.Lock()
        # Guarded by the mutex.
        self._waiting: deque[Message] = deque(maxlen=_MOST_KEPT)
        self._gathered: dict[str, list[dict[str, Any]]] = {}

    def send(
        self,
        type: str,
        blind: bool = False,
        utcoffset: Callable[[], float] | None = None,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Send an event, unless disabled or of a group that is not sent.

        Args:
            blind: Whether to leave out the logical clock.
            retry: Ignored, as ``retry_policy`` is: what cannot be sent waits.

        Raises:
            OperationalError: The broker is away, and ``buffer_while_offline`` is off.
        """
        if not self.enabled or (self.groups and group_of(type) not in self.groups):
            return
        event = self._event(type, fields, blind=blind, offset=utcoffset)
        group = group_of(type)
        if group not in self.buffer_group:
            self._publish([self._encode(event)])
            return
        with self._mutex:
            gathered = self._gathered.setdefault(group, [])
            gathered.append(event)
            is_full = len(gathered) >= self.buffer_limit
        if is_full:
            self.flush()
            if self.on_send_buffered is not None:
                self.on_send_buffered()

    def publish(
        self,
        type: str,
        fields: Mapping[str, Any],
        producer: object = None,
        blind: bool = False,
        Event: Callable[..., dict[str, Any]] = Event,  # noqa: N803 - Celery's name
        **kwargs: Any,
    ) -> None:
        """Send an event at once; ``producer`` and the other arguments are ignored."""
        self._publish([self._encode(self._event(type, fields, blind=blind, make=Event))])

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what waits.

        Args:
            errors: Whether what could not be sent before.
            groups: Whether what was gathered to go out together.
        """
        messages: list[Message] = []
        with self._mutex:
            if groups:
                for group, events in self._gathered.items():
                    if events:
                        messages.append(self._batch(group, events))
                self._gathered.clear()
            if errors:
                messages = [*self._waiting, *messages]
                self._waiting.clear()
        if messages:
            self._publish(messages)

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Send what waits in another one, too."""
        with other._mutex:
            waiting = list(other._waiting)
            other._waiting.clear()
        with self._mutex:
            self._waiting.extend(waiting)

    def enable(self) -> None:
        """Send from now on."""
        self.enabled = True
        for told in list(self.on_enabled):
            told()

    def disable(self) -> None:
        """Drop everything from now on."""
        if self.enabled:
            self.enabled = False
            self.close()
            for told in list(self.on_disabled):
                told()

    def close(self) -> None:
        """Send what was gathered."""
        self.flush(errors=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _event(
        self,
        type: str,
        fields: Mapping[str, Any],
        *,
        blind: bool,
        offset: Callable[[], float] | None = None,
        make: Callable[..., dict[str, Any]] = Event,
    ) -> dict[str, Any]:
        common = {
            "hostname": self.hostname,
            "utcoffset": utcoffset(self.app.wall_clock) if offset is None else offset(),
            "pid": self.pid,
            "clock": None if blind else self.app.clock.forward(),
            "timestamp": self.app.wall_clock.time(),
        }
        return make(type, {**common, **fields})

    def _encode(self, event: dict[str, Any]) -> Message:
        return encode_one(event, exchange=self._exchange.name, serializer=self.serializer)

    def _batch(self, group: str, events: Sequence[dict[str, Any]]) -> Message:
        return encode_batch(
            [written(event) for event in events],
            group=group,
            hostname=self.hostname,
            exchange=self._exchange.name,
            serializer=self.serializer,
        )

    def _publish(self, messages: Sequence[Message]) -> None:
        try:
            self.app.portal.call(self._broadcast, messages)
        except OperationalError:
            if not self.buffer_while_offline:
                raise
            with self._mutex:
                self._waiting.extend(messages)

    async def _broadcast(self, messages: Sequence[Message]) -> None:
        fanout = await self.app.connections.fanout()
        await fanout.broadcast(self._exchange, messages)
