"""What waits between RabbitMQ and whoever receives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pamqp import commands, frame

from umbel.drivers.rabbitmq import contents
from umbel.drivers.rabbitmq.channel import Arrived, Channel, Reply
from umbel.drivers.rabbitmq.marks import DELAYING, attempts, is_marked
from umbel.drivers.rabbitmq.methods import Get
from umbel.exceptions import DecodeError
from umbel.model import Delivery, Message

__all__ = ["Look", "Subscription", "Window", "delivery_of"]

_FIRST_GETS, _MORE_GETS = 8, 64
"""How many messages are asked for at once when a queue is looked at."""


class Window:
    """What one consumer may have without acknowledgement."""

    __slots__ = ("queue", "size", "tag", "used")

    def __init__(self, queue: str, size: int, tag: str) -> None:
        self.queue = queue
        self.size = size
        self.tag = tag
        self.used = 0

    def end(self, channel: int) -> bytes:
        """What tells RabbitMQ to push no more through it, and not to answer."""
        return frame.marshal(commands.Basic.Cancel(consumer_tag=self.tag, nowait=True), channel)


class Subscription:
    """One queue that is consumed from."""

    __slots__ = ("arrived", "largest", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.arrived: deque[Arrived] = deque()
        self.largest = window.size
        """The most that was asked for at once."""

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing can come before something is settled."""
        return not self.arrived and self.window.used >= self.window.size

    def leave_out(self, number: int) -> list[Arrived]:
        """Take away what waits with this delivery tag, or a lower one."""
        left_out = [each for each in self.arrived if each.tag <= number]
        for each in left_out:
            self.arrived.remove(each)
        return left_out


class Look:
    """What one look at some queues has found, and whether its caller has gone."""

    __slots__ = ("found", "is_over")

    def __init__(self) -> None:
        self.found: list[tuple[str, Arrived]] = []
        self.is_over = False

    async def fetch(
        self, channel: Channel, queue: str, limit: int, take: Callable[[Arrived], None]
    ) -> None:
        """Get messages of a queue until it is empty, or ``limit`` were found.

        Args:
            take: Told of each, also of those that come when nobody waits for them any more.
        """

        def got(future: asyncio.Future[Reply]) -> None:
            if not future.cancelled() and future.exception() is None:
                arrived = future.result()
                if isinstance(arrived, Arrived):
                    take(arrived)

        step = _FIRST_GETS
        while (room := limit - len(self.found)) > 0:
            futures = channel.begin(*[Get(queue=queue) for _ in range(min(room, step))])
            for future in futures:
                future.add_done_callback(got)
            # The last one to be answered.
            if not isinstance(await asyncio.shield(futures[-1]), Arrived):
                return
            step = _MORE_GETS


def delivery_of(
    queue: str, arrived: Arrived, prefix: str, counted: Callable[[Delivery], Delivery]
) -> Delivery:
    """What is handed out for a message; its tag is that of its channel behind ``prefix``.

    Args:
        counted: Knows how many attempts it was that do not show in the message.
    """
    defect = None
    # On a quorum queue, too, only this counts: what RabbitMQ counts includes what came in order.
    deaths = attempts(arrived.header) if is_marked(arrived.header) else None
    exchange, key = arrived.exchange, arrived.routing_key
    if exchange.startswith(DELAYING):
        # It had to wait; where it was sent to first it does not say.
        exchange, key = "", queue
    try:
        message = contents.message_of(exchange, key, arrived.header, arrived.body)
    except DecodeError as exc:
        message = Message(id="", body=arrived.body)
        defect = str(exc)
    delivery = Delivery(
        message=message,
        queue=queue,
        tag=f"{prefix}{arrived.tag}",
        attempt=1 + (deaths or 0),
        redelivered=arrived.redelivered or deaths is not None,
        defect=defect,
    )
    return counted(delivery) if arrived.redelivered else delivery
