"""What commands get to see of their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from umbel.exceptions import UmbelError
from umbel.wire.tasks import read_body
from umbel.worker.request import Request

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.events.sender import EventSender
    from umbel.model import Queue
    from umbel.protocols import Pool
    from umbel.worker.admission import Accepted
    from umbel.worker.company import Company
    from umbel.worker.source import Source
    from umbel.worker.worker import Worker

__all__ = ["Consumer", "ControlState", "QoS", "running_consumers"]

running_consumers: WeakSet[Consumer] = WeakSet()
"""Those of the workers that run in this process."""


class QoS:
    """How many messages the worker holds, running ones included."""

    def __init__(self, pool: Pool, active: Mapping[int, Accepted]) -> None:
        self._pool = pool
        self._active = active

    @property
    def value(self) -> int:
        """What it holds now and could take."""
        return len(self._active) + max(0, self._pool.free)


class Consumer:
    """The running worker, under the names that Celery's commands know it by."""

    def __init__(self, worker: Worker, pool: Pool, source: Source, company: Company) -> None:
        self.controller = worker
        self.app: Umbel = worker.app
        self.hostname: str = worker.hostname
        self.pool = pool
        self.event_dispatcher: EventSender = company.sender
        self.gossip = company.gossip()
        """None: the worker does not listen to others."""
        self._source = source
        self.qos = QoS(pool, worker.state.active)
        self.loop = asyncio.get_running_loop()
        """The worker's."""

    @property
    def queues(self) -> Sequence[Queue]:
        """What it takes tasks from."""
        return self._source.consumed

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call it on the worker's loop, after what is under way."""
        asyncio.get_running_loop().call_soon(function, *args)


class ControlState:
    """The first argument of every command."""

    def __init__(self, consumer: Consumer) -> None:
        self.app: Umbel = consumer.app
        self.hostname: str = consumer.hostname
        self.consumer = consumer
        self.tset = set
        """What makes a set of requests."""

    @property
    def worker(self) -> Worker:
        """The worker."""
        return self.consumer.controller

    def running(self) -> list[Accepted]:
        """What runs now."""
        started = {each.key for each in self.consumer.pool.running()}
        return [a for key, a in self.worker.state.active.items() if key in started]

    def waiting(self) -> list[Accepted]:
        """What has been taken, is due and does not run yet."""
        started = {each.key for each in self.consumer.pool.running()}
        state = self.worker.state
        return [*(a for key, a in state.active.items() if key not in started), *state.rates]

    def held(self) -> list[Accepted]:
        """What waits until it is due."""
        return list(self.worker.state.holding)

    def about(self, accepted: Accepted, *, safe: bool = False) -> dict[str, Any]:
        """What is shown of a request.

        Args:
            safe: Whether arguments are shown as text; else as values, where these can be read
                without running code.
        """
        info = Request(accepted).info()
        info.update(hostname=self.hostname, time_start=None, worker_pid=None)
        info["acknowledged"] = not accepted.options.acks_late
        if not safe:
            info.update(self._arguments(accepted))
        for each in self.consumer.pool.running():
            if each.key == accepted.request.key:
                clock = self.app.wall_clock
                info["time_start"] = clock.time() - (clock.monotonic() - each.since)
                info["worker_pid"] = each.pid
        return info

    def _arguments(self, accepted: Accepted) -> dict[str, Any]:
        if accepted.request.message.content_type != "application/json":
            return {}
        try:
            body = read_body(
                accepted.request, accept=self.app.accept, limit=self.app.decompress_limit
            )
        except UmbelError:
            # Its task will say so.
            return {}
        return {"args": body.args, "kwargs": body.kwargs}
