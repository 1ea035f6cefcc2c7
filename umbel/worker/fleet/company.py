"""A worker among others: it is heard, hears, answers and shows that it lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from umbel.app.operating.mailbox import mailbox_of
from umbel.events.sender import EventSender
from umbel.exceptions import BrokerUnavailable, OperationalError
from umbel.worker.commands.state import Consumer, ControlState, running_consumers
from umbel.worker.fleet.gossip import Gossip
from umbel.worker.fleet.heart import INTERVAL, Heart
from umbel.worker.fleet.mingle import mingle
from umbel.worker.fleet.remote import Remote

if TYPE_CHECKING:
    from umbel.worker.worker import Worker

__all__ = ["Company"]

logger = logging.getLogger(__name__)

_FAREWELL = 2.0
"""Seconds that the last events may take."""


class Company:
    """Everything a worker does over the fan-out. It costs no task anything when that is away."""

    def __init__(self, worker: Worker) -> None:
        app, options = worker.app, worker.options
        self._worker = worker
        self._fanout = app.make_fanout(app.broker_read_url)
        self.sender = EventSender(
            self._fanout,
            hostname=worker.hostname,
            exchange=app.conf.event_exchange,
            serializer=app.conf.event_serializer,
            logical_clock=app.clock,
            clock=app.wall_clock,
            groups=("worker", "task") if options.task_events else ("worker",),
        )

    def gossip(self) -> Gossip | None:
        """The ear for the others; None when it is not wanted."""
        worker = self._worker
        if worker.options.without_gossip:
            return None
        return Gossip(
            worker.app,
            self._fanout,
            self.sender,
            hostname=worker.hostname,
            interval=worker.options.heartbeat_interval or INTERVAL,
        )

    @asynccontextmanager
    async def kept(self, consumer: Consumer) -> AsyncGenerator[None]:
        """Keep company meanwhile; entered when the worker can be reached."""
        worker, conf = self._worker, self._worker.app.conf
        running_consumers.add(consumer)
        try:
            await self._fanout.open()
        except (BrokerUnavailable, OperationalError) as error:
            logger.warning("Remote control and events are not possible at the moment: %s", error)
        if conf.worker_enable_remote_control and not worker.options.without_mingle:
            others = await mingle(worker, self._fanout)
            if consumer.gossip is not None:
                consumer.gossip.meet(others)
        try:
            async with asyncio.TaskGroup() as group:
                serving = [group.create_task(self.sender.run(), name="umbel-events")]
                if consumer.gossip is not None:
                    # Before the others hear of this worker, and count on it.
                    serving.append(group.create_task(consumer.gossip.listen(), name="umbel-gossip"))
                    serving.append(group.create_task(consumer.gossip.watch(), name="umbel-watch"))
                    await consumer.gossip.reachable()
                heart = self._heart(consumer)
                if not worker.options.without_heartbeat:
                    serving.append(group.create_task(heart.beat(), name="umbel-heart"))
                if conf.worker_enable_remote_control:
                    remote = Remote(self._fanout, mailbox_of(conf), ControlState(consumer))
                    serving.append(group.create_task(remote.serve(), name="umbel-remote-control"))
                    await remote.reachable()
                try:
                    yield
                finally:
                    for task in serving:
                        task.cancel()
                    if not worker.options.without_heartbeat:
                        heart.stop()
                    if consumer.gossip is not None:
                        await consumer.gossip.finish(_FAREWELL)
                    await self.sender.finish(_FAREWELL)
        finally:
            running_consumers.discard(consumer)
            await self._fanout.close()

    def _heart(self, consumer: Consumer) -> Heart:
        worker = self._worker
        return Heart(
            self.sender,
            interval=worker.options.heartbeat_interval or INTERVAL,
            clock=worker.app.wall_clock,
            active=lambda: len(consumer.pool.running()),
            processed=lambda: sum(worker.state.totals.values()),
        )
