"""What commands get to see of their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
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
    from umbel.worker.fetching.admission import Accepted
    from umbel.worker.fetching.credit import Credit
    from umbel.worker.fetching.source import Source
    from umbel.worker.fleet.company import Company
    from umbel.worker.parts import Parts
    from umbel.worker.worker import Worker

__all__ = ["Consumer", "ControlState", "QoS", "running_consumers"]

running_consumers: WeakSet[Consumer] = WeakSet()
"""Those of the workers that run in this process."""


class QoS:
    """How many messages the worker may hold, running ones included.

    Source:
        kombu reference, ``kombu.common.QoS``: names. Celery user guide, Workers, "Writing your own
        remote control commands": what they are used for.
    """

    def __init__(self, credit: Credit, nudge: Callable[[], None]) -> None:
        """Make one.

        Args:
            nudge: Called when the number has changed: what is being asked for is too many.
        """
        self._credit = credit
        self._nudge = nudge

    @property
    def value(self) -> int:
        """The number; unless somebody has set it, what the worker holds now and could take."""
        return self._credit.most

    def increment_eventually(self, n: int = 1) -> int:
        """Hold more from now on, as far as the pool takes them; returns the number."""
        return self.set(self.value + max(n, 0))

    def decrement_eventually(self, n: int = 1) -> int:
        """Hold fewer, but one, once those that are too many are done; returns the number."""
        return self.set(max(1, self.value - n))

    def set(self, pcount: int) -> int:
        """Hold so many; 0: as many as is worth while. Returns the number."""
        self._credit.limit(pcount or None)
        self._nudge()
        return self.value

    def update(self) -> int:
        """The number, which is in force as soon as it is set."""
        return self.value


class Consumer:
    """The running worker, under the names that Celery's commands know it by."""

    def __init__(
        self, worker: Worker, pool: Pool, source: Source, company: Company, parts: Parts
    ) -> None:
        self.controller = worker
        self.app: Umbel = worker.app
        self.hostname: str = worker.hostname
        self.pool = pool
        self.event_dispatcher: EventSender = company.sender
        self.gossip = company.gossip()
        """None: the worker does not listen to others."""
        self._source = source
        self.qos = QoS(parts.credit, parts.nudge)
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
