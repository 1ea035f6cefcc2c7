"""The last word on what a worker consumes from, before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umbel.signals import celeryd_after_setup

if TYPE_CHECKING:
    from umbel.model import Queue
    from umbel.protocols import Broker
    from umbel.worker.worker import Worker

__all__ = ["declare_queues", "queues_of"]


async def declare_queues(broker: Broker, queues: Sequence[Queue]) -> None:
    """Make queues exist, and tell those who want to know (``Queue(on_declared=…)``)."""
    await broker.declare(queues)
    for queue in queues:
        if queue.on_declared is not None:
            stats = (await broker.stats([queue.name]))[queue.name]
            queue.on_declared(queue.name, stats.ready, 0)


def queues_of(worker: Worker) -> list[Queue]:
    """The queues that its options name, or the app's; as receivers of ``celeryd_after_setup``, who
    may select others, leave them.

    Raises:
        QueueNotFound: A name is not configured, and ``task_create_missing_queues`` is off.

    Source:
        Celery user guide, Signals, ``celeryd_after_setup``: the example gives each worker a queue
        of its own.
    """
    app, options = worker.app, worker.options
    if not celeryd_after_setup.receivers:
        return app.queues(options.queues, options.exclude_queues)
    selection = app.amqp.queues
    selection.select(options.queues)
    selection.deselect(options.exclude_queues)
    celeryd_after_setup.send(sender=worker.hostname, instance=worker, conf=app.conf)
    return app.queues()
