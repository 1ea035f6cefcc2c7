"""Messages that are no tasks: received for the consumers of steps."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from umbel.app.connecting.messaging import Channel, Connection
from umbel.app.connecting.received import Consumer, Received
from umbel.app.connecting.reception import AT_ONCE, Reception
from umbel.model import Delivery
from umbel.worker.settling.patience import Patience

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["WorkerChannel", "WorkerConnection"]

logger = logging.getLogger(__name__)


class WorkerConnection(Connection):
    """A worker's way to its broker: its channels can consume."""

    def __init__(self, app: Umbel) -> None:
        super().__init__(app.broker_read_url, app=app)
        self.serving: dict[Consumer, asyncio.Task[None]] = {}

    def channel(self) -> WorkerChannel:
        """What consumers are made with."""
        return WorkerChannel(self)

    @property
    def default_channel(self) -> WorkerChannel:
        """What consumers are made with."""
        return WorkerChannel(self)

    async def closed(self) -> None:
        """End all consumers, and wait until they have."""
        for task in self.serving.values():
            task.cancel()
        if self.serving:
            await asyncio.wait(self.serving.values())


class WorkerChannel(Channel):
    """What consumers of a worker's steps are made with."""

    connection: WorkerConnection

    def consume(self, consumer: Consumer) -> None:
        """Receive for a consumer, on the running loop."""
        serving = self.connection.serving
        if consumer not in serving:
            work = _Receiving(self.connection.app, consumer).run()
            serving[consumer] = asyncio.get_running_loop().create_task(work, name="umbel-consumer")

    def cancel(self, consumer: Consumer) -> None:
        """Receive no more for it. What it has goes back."""
        task = self.connection.serving.get(consumer)
        if task is not None:
            task.cancel()


class _Receiving:
    """Receives for one consumer; has it see to messages on the worker's loop."""

    def __init__(self, app: Umbel, consumer: Consumer) -> None:
        self._consumer = consumer
        self._reception = Reception(
            app.make_broker(),
            list(consumer.queues),
            app.wall_clock,
            self._take,
            limit=consumer.prefetch_count or AT_ONCE,
            insist=Patience(app.wall_clock),
        )

    async def run(self) -> None:
        """Receive until cancelled."""
        await self._reception.run()

    def _take(self, delivery: Delivery) -> None:
        message: Received | None = None
        try:
            message = Received(delivery, self._reception.end, self._consumer.accept)
            self._consumer.take(message)
        except Exception:
            # User code, or content that is not accepted: the others are not to wait for it.
            logger.exception("A consumer has failed for a message of queue %s", delivery.queue)
            if message is None or not message.acknowledged:
                self._reception.end(delivery, requeue=False)
