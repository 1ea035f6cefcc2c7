"""Messages that are no tasks: received for the consumers of steps."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from umbel.app.connecting.messaging import Channel, Connection
from umbel.app.connecting.received import Consumer, Received
from umbel.model import Delivery
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["WorkerChannel", "WorkerConnection"]

logger = logging.getLogger(__name__)

_WAIT = 5.0
"""Seconds one ``receive`` waits for a first message before it is asked again."""
_AT_ONCE = 10
"""Messages of a consumer at a time, unless it says how many."""


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
    """Receives for one consumer, on a connection of its own."""

    def __init__(self, app: Umbel, consumer: Consumer) -> None:
        self._app = app
        self._consumer = consumer
        self._held: dict[str, Delivery] = {}
        self._settled: list[tuple[Delivery, bool | None]] = []
        self._ended = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Receive until cancelled."""
        app, consumer = self._app, self._consumer
        broker, insist = app.make_broker(), Patience(app.wall_clock)
        await insist(broker.open)
        leases = Leases(broker, app.wall_clock)
        try:
            await broker.declare(consumer.queues)
            async with asyncio.TaskGroup() as group:
                group.create_task(leases.run())
                group.create_task(self._settle(broker, insist, leases))
                await self._receive(broker, insist, leases)
        finally:
            try:
                await broker.nack(list(self._held.values()), requeue=True)
            finally:
                await broker.close()

    async def _receive(self, broker: Any, insist: Patience, leases: Leases) -> None:
        consumer = self._consumer
        queues = [queue.name for queue in consumer.queues]
        limit = consumer.prefetch_count or _AT_ONCE
        while True:
            room = limit - len(self._held)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            for delivery in await insist(broker.receive, queues, limit=room, wait=_WAIT):
                self._held[delivery.tag] = delivery
                leases.hold([delivery])
                self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        if delivery.defect is not None:
            self._end(delivery, requeue=False)
            return
        message: Received | None = None
        try:
            message = Received(delivery, self._end, self._consumer.accept)
            self._consumer.take(message)
        except Exception:
            # User code, or content that is not accepted: the others are not to wait for it.
            logger.exception("A consumer has failed for a message of queue %s", delivery.queue)
            if message is None or not message.acknowledged:
                self._end(delivery, requeue=False)

    def _end(self, delivery: Delivery, requeue: bool | None) -> None:
        self._settled.append((delivery, requeue))
        self._ended.set()

    async def _settle(self, broker: Any, insist: Patience, leases: Leases) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            settled, self._settled = self._settled, []
            for requeue in (None, True, False):
                ended = [delivery for delivery, verdict in settled if verdict is requeue]
                if not ended:
                    continue
                with leases.settling(ended):
                    if requeue is None:
                        await insist(broker.ack, ended)
                    else:
                        await insist(broker.nack, ended, requeue=requeue)
                for delivery in ended:
                    self._held.pop(delivery.tag, None)
            self._room.set()
