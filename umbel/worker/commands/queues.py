"""Commands about the queues that a worker takes tasks from.

Source:
    Celery user guide, Workers, "Queues": names, arguments and replies, as observed with Celery
    5.7.
"""

from __future__ import annotations

from typing import Any

from umbel.worker.commands.registry import control_command, ok
from umbel.worker.commands.state import ControlState

__all__: list[str] = []


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
async def add_consumer(
    state: ControlState,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Any:
    """Tell worker(s) to consume from task queue by name."""
    await state.worker.add_consumer(
        _name(queue),
        exchange=exchange,
        exchange_type=exchange_type,
        routing_key=routing_key,
        **options,
    )
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: ControlState, queue: str, **_: Any) -> Any:
    """Tell worker(s) to stop consuming from task queue by name."""
    state.worker.cancel_consumer(_name(queue))
    return ok(f"no longer consuming from {queue}")


def _name(queue: Any) -> str:
    if not isinstance(queue, str) or not queue:
        raise TypeError(f"{queue!r:.120} is not the name of a queue")
    return queue
