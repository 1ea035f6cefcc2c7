"""What waits between RabbitMQ and whoever receives."""

from __future__ import annotations

from collections import deque

from pamqp import commands, frame

from umbel.drivers.rabbitmq import contents
from umbel.drivers.rabbitmq.channel import Arrived
from umbel.drivers.rabbitmq.marks import DELAYING, attempts, is_marked
from umbel.exceptions import DecodeError
from umbel.model import Delivery, Message

__all__ = ["Look", "Subscription", "Window", "delivery_of"]


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


def delivery_of(queue: str, arrived: Arrived, prefix: str) -> Delivery:
    """What is handed out for a message; its tag is that of its channel behind ``prefix``."""
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
    return Delivery(
        message=message,
        queue=queue,
        tag=f"{prefix}{arrived.tag}",
        attempt=1 + (deaths or 0),
        redelivered=arrived.redelivered or deaths is not None,
        defect=defect,
    )
