"""The worker and its consumer, as steps and strategies see them.

Source:
    Celery user guide, Extensions and Bootsteps: attributes of worker and consumer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from umbel.worker.bootsteps import Blueprint, Step
from umbel.worker.pools.base import BasePool
from umbel.worker.steps.hub import Hub
from umbel.worker.steps.receiving import WorkerConnection
from umbel.worker.steps.strategies import Carried, Strategies
from umbel.worker.steps.timer import LoopTimer

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.worker.worker import Worker

__all__ = ["Consumer", "WorkerParent"]

logger = logging.getLogger(__name__)


class WorkerParent:
    """The parent of worker steps: the worker, and what steps find there beside."""

    use_eventloop = True

    def __init__(self, worker: Worker, pool: BasePool) -> None:
        self._worker = worker
        self.app: Umbel = worker.app
        self.hostname: str = worker.hostname
        self.pool = pool
        loop = asyncio.get_running_loop()
        self.timer = LoopTimer(loop, worker.app.wall_clock)
        self.hub = Hub(self.timer, loop=loop)
        self.steps: list[Step] = []
        self.blueprint = Blueprint(worker.app.steps["worker"], name="Worker")
        self.consumer: Consumer | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def __repr__(self) -> str:
        return repr(self._worker)

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """End, and let what runs finish."""
        self._worker.stop("warm", "a step has asked for it")

    def terminate(self, in_sighandler: bool = False) -> None:
        """End, without waiting for what runs."""
        self._worker.stop("cold", "a step has asked for it")


class Consumer:
    """The parent of consumer steps, and what strategies are given."""

    restart_count = 0

    def __init__(self, parent: WorkerParent, worker: Worker, strategies: Strategies) -> None:
        known = worker.consumer
        assert known is not None, "made when the worker can be reached"
        self.controller = parent
        self.app: Umbel = worker.app
        self.hostname: str = worker.hostname
        self.pool = parent.pool
        self.timer = parent.timer
        self.hub = parent.hub
        self.steps: list[Step] = []
        self.blueprint = Blueprint(worker.app.steps["consumer"], name="Consumer")
        self.connection = WorkerConnection(worker.app)
        self.connection_errors = self.connection.connection_errors
        self.channel_errors = self.connection.channel_errors
        self.event_dispatcher = known.event_dispatcher
        self.gossip = known.gossip
        self.qos = known.qos
        self.loop = asyncio.get_running_loop()
        self._worker = worker
        self._strategies = strategies
        self._background: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Consumer: {self.hostname} (running)>"

    @property
    def queues(self) -> Any:
        """What the worker takes tasks from."""
        return self._worker.consumer.queues if self._worker.consumer is not None else ()

    @property
    def strategies(self) -> Any:
        """What is done with messages, by task; those that are not there are simply run."""
        return self._strategies.handlers

    def run(self, message: Carried) -> None:
        """Have the worker run a message of a task itself."""
        self._strategies.run(message)

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Take tasks from one more queue, soon."""
        given = {"exchange": exchange, "exchange_type": exchange_type, "routing_key": routing_key}
        adding = self.loop.create_task(self._worker.add_consumer(queue, **given, **options))
        self._background.add(adding)
        adding.add_done_callback(self._added)

    def _added(self, adding: asyncio.Task[None]) -> None:
        self._background.discard(adding)
        if not adding.cancelled() and (error := adding.exception()) is not None:
            logger.error("Cannot take tasks from one more queue: %r", error, exc_info=error)

    def cancel_task_queue(self, queue: str) -> None:
        """Take no more tasks from a queue."""
        self._worker.cancel_consumer(queue)

    def call_soon(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Call it on the worker's loop, after what is under way."""
        self.loop.call_soon_threadsafe(lambda: p(*args, **kwargs))
        return p

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """The way to the broker that tasks come from."""
        return self.app.connection_for_read()

    def connection_for_write(self, url: str | None = None, heartbeat: Any = None) -> Any:
        """The way to the broker that tasks are sent to."""
        return self.app.connection_for_write(url)
