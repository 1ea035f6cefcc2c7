"""Messages that wait in queues, read one by one and given back: for ``contrib.migrate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.model import Delivery
from umbel.wire import headers
from umbel.wire.tasks import decode, read_body

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.protocols import Broker

__all__ = ["Body", "Carried", "Reader", "State", "StopFiltering"]

_BATCH = 100
_FOREVER = 5.0
"""Seconds that an empty queue is waited for at a time, when there is no end."""


class StopFiltering(Exception):
    """Raised by a function that is called with messages: it has seen enough."""


class State:
    """How far it is."""

    count = 0
    """How many messages were looked at."""
    filtered = 0
    """How many of them were moved."""
    total_apx = 0
    """How many there were about, at the beginning."""

    @property
    def strtotal(self) -> str:
        """That, for people."""
        return str(self.total_apx) if self.total_apx else "?"

    def __repr__(self) -> str:
        return f"^{self.filtered}" if self.filtered else f"{self.count}/{self.strtotal}"


class Body(Mapping[str, Any]):
    """What a message asks for: the fields of either protocol; ``args`` and ``kwargs`` are decoded
    when they are asked for.

    Raises:
        UmbelError: It is none of a task, or its arguments may not be read.
    """

    def __init__(
        self, app: Umbel, delivery: Delivery, accept: frozenset[str] | None = None
    ) -> None:
        self._accept = app.accept if accept is None else accept
        self._limit = app.decompress_limit
        self._request = decode(delivery, key=0, accept=self._accept, limit=self._limit)
        request = self._request
        self._fields: dict[str, Any] = {
            **headers.read(request.message),
            "id": request.id,
            "task": request.task,
            "retries": request.retries,
        }

    def __getitem__(self, name: str) -> Any:
        if name in {"args", "kwargs"}:
            body = read_body(self._request, accept=self._accept, limit=self._limit)
            return body.args if name == "args" else body.kwargs
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._fields, "args": None, "kwargs": None})

    def __len__(self) -> int:
        return len(list(iter(self)))


class Carried:
    """A message, on loan from its queue."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.message = delivery.message
        self.acknowledged = False

    @property
    def body(self) -> bytes:
        """As it came."""
        return self.message.body

    @property
    def headers(self) -> dict[str, Any]:
        """Decoded."""
        return headers.read(self.message)

    @property
    def properties(self) -> dict[str, Any]:
        """``correlation_id``, ``reply_to``, ``priority`` and others."""
        message = self.message
        return {
            **message.properties,
            "correlation_id": message.correlation_id or message.id,
            "reply_to": message.reply_to,
            "priority": message.priority,
        }

    @property
    def delivery_info(self) -> dict[str, str]:
        """Which way it came."""
        return {"exchange": self.message.exchange, "routing_key": self.message.routing_key}

    @property
    def content_type(self) -> str:
        """The body's."""
        return self.message.content_type

    @property
    def content_encoding(self) -> str:
        """The body's."""
        return self.message.content_encoding

    def ack(self) -> None:
        """Take it away from its queue, soon; else it is given back at the end."""
        self.acknowledged = True


class Reader:
    """Reads queues, and gives back what nobody has taken."""

    def __init__(self, app: Umbel, names: Sequence[str], wait: float | None) -> None:
        self._app = app
        self._names = names
        self._wait = wait
        self._lease = float(app.conf.worker_lease)
        self._taken: list[Delivery] = []
        self._kept: list[Delivery] = []

    def run(self, look: Callable[[Carried], None], state: State, limit: int | None) -> None:
        """Call ``look`` with one message after the other."""
        call = self._app.portal.call
        broker: Broker = call(self._open)
        try:
            waiting = call(broker.stats, self._names)
            state.total_apx += sum(stats.ready for stats in waiting.values())
            while deliveries := self._receive(broker, limit and limit - state.count):
                self._see(deliveries, look)
                call(self._settle, broker)
                if limit and state.count >= limit:
                    break
        except StopFiltering:
            pass
        finally:
            call(self._close, broker)

    def _receive(self, broker: Broker, room: int | None) -> list[Delivery]:
        while True:
            found = self._app.portal.call(self._next, broker, min(room or _BATCH, _BATCH))
            if found or self._wait is not None:
                return found

    def _see(self, deliveries: Sequence[Delivery], look: Callable[[Carried], None]) -> None:
        for place, delivery in enumerate(deliveries):
            message = Carried(delivery)
            try:
                look(message)
            except BaseException:
                self._kept += deliveries[place + 1 :]
                raise
            finally:
                (self._taken if message.acknowledged else self._kept).append(delivery)

    async def _open(self) -> Broker:
        broker = self._app.make_broker()
        await broker.open()
        return broker

    async def _next(self, broker: Broker, room: int) -> list[Delivery]:
        # It may be long until the end, where they are given back.
        await broker.extend(self._kept, lease=self._lease)
        wait = _FOREVER if self._wait is None else self._wait
        return await broker.receive(self._names, limit=room, wait=wait)

    async def _settle(self, broker: Broker) -> None:
        taken, self._taken = self._taken, []
        await broker.ack(taken)

    async def _close(self, broker: Broker) -> None:
        try:
            await self._settle(broker)
            await broker.nack(self._kept)
        finally:
            await broker.close()
