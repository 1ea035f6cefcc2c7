"""The life of a worker's extensions, beside the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.app.task import Task
from umbel.utils.imports import symbol_by_name
from umbel.worker.steps.calls import Calls
from umbel.worker.steps.parents import Consumer, WorkerParent
from umbel.worker.steps.strategies import Strategies

if TYPE_CHECKING:
    from umbel.worker.parts import Parts
    from umbel.worker.shutdown import Shutdown
    from umbel.worker.worker import Worker

__all__ = ["Extensions"]


class Extensions:
    """Strategies, and steps of worker and consumer: made, started and stopped.

    Args:
        tasks: Those that have a strategy of their own.
    """

    def __init__(
        self,
        worker: Worker,
        parts: Parts,
        shutdown: Shutdown,
        tasks: Iterable[Task[..., Any]],
    ) -> None:
        self._shutdown = shutdown
        self._calls: Calls = parts.make_calls(worker.app)
        strategies: Strategies = parts.make_strategies(worker.app.accept)
        self._parent = WorkerParent(worker, self._calls)
        self._consumer = self._parent.consumer = Consumer(self._parent, worker, strategies)
        strategies.handlers = {
            task.name: symbol_by_name(task.Strategy)(task, worker.app, self._consumer)
            for task in tasks
        }
        given = msgspec.structs.asdict(worker.options)
        given |= given.pop("extra_options")
        self._parent.blueprint.apply(self._parent, **given)
        self._consumer.blueprint.apply(self._consumer, **given)

    async def run(self, ending: asyncio.Event) -> None:
        """Start the steps, and stop them when the worker has ended."""
        parent, consumer = self._parent, self._consumer
        calling = asyncio.create_task(self._calls.run(), name="umbel-calls")
        try:
            parent.blueprint.start(parent)
            consumer.blueprint.start(consumer)
            await ending.wait()
        finally:
            is_cold = self._shutdown.is_cold
            consumer.blueprint.stop(consumer, terminate=is_cold)
            parent.blueprint.stop(parent, terminate=is_cold)
            await consumer.connection.closed()
            parent.timer.clear()
            parent.hub.clear()
            calling.cancel()
            await asyncio.wait([calling])
