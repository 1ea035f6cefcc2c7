"""Listening to events.

Source:
    Celery reference, ``celery.events.receiver``: names, arguments, what is done to events.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from umbel.events.dispatcher import Outlet
from umbel.events.sender import utcoffset
from umbel.exceptions import ContentDisallowed, DecodeError, ImproperlyConfigured
from umbel.serialization.registry import content_types
from umbel.wire.events import EventQueue, decode

if TYPE_CHECKING:
    from umbel.model import Message

__all__ = ["EventReceiver"]

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], object]

_LOOK = 1.0
"""Seconds after which it is looked whether to go on."""
_CLIENT_SKEW = -1
"""What a client's event is behind our logical clock: clients keep none."""


class _Control(Protocol):
    def broadcast(self, command: str) -> Any: ...


class Source(Outlet, Protocol):
    """What receivers need of an app."""

    @property
    def control(self) -> _Control: ...


class EventReceiver:
    """Gives events to handlers, by type; ``"*"`` is for all types that have none."""

    def __init__(
        self,
        channel: object = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Source | None = None,
        queue_prefix: str | None = None,
        accept: Any = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        """Make one.

        Args:
            channel: Ignored: umbel has its own connection.
            routing_key: A pattern of event types, with dots for dashes.
            node_id: Ends the name of the queue.
            accept: Serializers or content types that events may be written with.

        Raises:
            TypeError: There is no app.
            ImproperlyConfigured: The queue would be both exclusive and durable.
        """
        if app is None:
            raise TypeError("a receiver needs an app: use app.events.Receiver")
        conf = app.conf
        self.app = app
        self.channel = channel
        self.handlers: Mapping[str, Handler] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or str(uuid.uuid4())
        self.should_stop = False
        """Whether to end with what is under way."""
        self.on_idle: Callable[[], float] | None = None
        """Called while nothing comes; says after how many seconds to call it again."""
        options = EventQueue(
            exchange=conf.event_exchange,
            prefix=queue_prefix or conf.event_queue_prefix,
            ttl=conf.event_queue_ttl if queue_ttl is None else queue_ttl,
            expires=conf.event_queue_expires if queue_expires is None else queue_expires,
            exclusive=conf.event_queue_exclusive if queue_exclusive is None else queue_exclusive,
            durable=conf.event_queue_durable if queue_durable is None else queue_durable,
        )
        if options.exclusive and options.durable:
            raise ImproperlyConfigured(
                "event_queue_exclusive and event_queue_durable cannot both be True: exclusive "
                "queues go with their connection."
            )
        self.queue = options.queue(self.node_id, routing_key)
        self.accept = content_types(accept or {conf.event_serializer, "json"})

    def capture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> None:
        """Handle events until :attr:`should_stop`; see :meth:`itercapture`."""
        for _ in self.itercapture(limit=limit, timeout=timeout, wakeup=wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[None]:
        """Handle events; yields after each message.

        Args:
            limit: How many messages.
            timeout: Seconds to wait for one.
            wakeup: Whether to have workers show that they live, at the beginning.

        Raises:
            TimeoutError: Nothing came for so long.
            OperationalError: The broker is away.
        """
        call = self.app.portal.call
        listening: AbstractAsyncContextManager[AsyncIterator[list[Message]]]
        listening = call(self._listening)
        stream = call(listening.__aenter__)
        try:
            if wakeup:
                self.wakeup_workers()
            count = 0
            waited = 0.0
            while not self.should_stop and (limit is None or count < limit):
                patience = _LOOK if timeout is None else min(_LOOK, timeout - waited)
                if self.on_idle is not None:
                    patience = min(patience, self.on_idle())
                messages: list[Message] | None = call(_next, stream, patience)
                if messages is None:
                    waited += patience
                    if timeout is not None and waited >= timeout:
                        raise TimeoutError(f"no event has come for {timeout:g} seconds")
                    continue
                waited = 0.0
                for message in messages:
                    count += 1
                    self._receive(message)
                    yield
        finally:
            call(listening.__aexit__, None, None, None)

    def wakeup_workers(self, channel: object = None) -> None:
        """Have workers show that they live."""
        self.app.control.broadcast("heartbeat")

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Give an event to its handler."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def event_from_message(
        self, body: dict[str, Any], localize: bool = True
    ) -> tuple[str, dict[str, Any]]:
        """An event with its type, once our logical clock has taken note of it.

        Args:
            localize: Whether to shift its time by the difference of the time zones.
        """
        type = str(body["type"])
        clock = self.app.clock
        if type == "task-sent":
            body["clock"] = max(clock.value, 1) + _CLIENT_SKEW
        elif isinstance(body.get("clock"), int):
            clock.adjust(body["clock"])
        else:
            body["clock"] = clock.forward()
        offset, moment = body.get("utcoffset"), body.get("timestamp")
        if localize and isinstance(offset, int | float) and isinstance(moment, int | float):
            body["timestamp"] = moment - (offset - utcoffset(self.app.wall_clock)) * 3600
        body["local_received"] = self.app.wall_clock.time()
        return type, body

    def _receive(self, message: Message) -> None:
        try:
            events = decode(message, accept=self.accept)
        except (ContentDisallowed, DecodeError) as error:
            logger.warning("Ignored a message that is no event: %s", error)
            return
        for event in events:
            self.process(*self.event_from_message(event))

    async def _listening(self) -> AbstractAsyncContextManager[AsyncIterator[list[Message]]]:
        fanout = await self.app.connections.fanout()
        return fanout.listen([self.queue])


async def _next(stream: AsyncIterator[list[Message]], timeout: float) -> list[Message] | None:
    try:
        async with asyncio.timeout(timeout):
            return await anext(stream)
    except TimeoutError:
        return None
