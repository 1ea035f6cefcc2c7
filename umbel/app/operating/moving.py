"""Carrying messages from one broker to another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from umbel.wire import headers

if TYPE_CHECKING:
    from umbel.model import Delivery, Queue
    from umbel.protocols import Broker, Clock

__all__ = ["Moved", "Order", "move"]

_BATCH = 100


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried."""

    queues: Mapping[str, str]
    """Where from: where to."""
    tasks: Collection[str] | None = None
    """Only tasks of these names."""
    limit: int | None = None
    wait: float | None = 1.0
    """Seconds without a message after which it is done; None: never."""
    take: bool = False
    """Whether the messages are taken away from where they were."""
    lease: float = 20.0
    """Seconds that a message is ours before it must be renewed."""


class Moved(msgspec.Struct):
    """What was carried."""

    count: int = 0
    passed_over: int = 0
    """Messages of other tasks."""
    not_due: int = 0
    """Messages that wait for their time, and stay where they are."""


async def move(
    source: Broker,
    target: Broker,
    order: Order,
    make_queue: Callable[[str], Queue],
    tell: Callable[[Delivery, str], None],
    *,
    clock: Clock,
) -> Moved:
    """Carry messages over, a batch at a time; both brokers are open.

    A message is published to its new queue before it is acknowledged in the old one: what dies in
    between leaves it in both. What is not taken is given back at the end.

    Args:
        make_queue: What the queue of a name is like, where it is to go.
        tell: Called for each message that was carried, with the name of its task.
    """
    moved = Moved()
    await target.declare([make_queue(name) for name in sorted(set(order.queues.values()))])
    kept: list[Delivery] = []
    names = sorted(order.queues)
    renewed_at = clock.monotonic()
    try:
        while order.limit is None or moved.count < order.limit:
            room = _BATCH if order.limit is None else min(_BATCH, order.limit - moved.count)
            wait = 5.0 if order.wait is None else order.wait
            deliveries = await source.receive(names, limit=room, wait=wait)
            if clock.monotonic() - renewed_at > order.lease / 3:
                renewed_at = clock.monotonic()
                await source.extend(kept, lease=order.lease)
            if not deliveries:
                if order.wait is None:
                    continue
                break
            wanted = [each for each in deliveries if _is_wanted(each, order.tasks)]
            kept += [each for each in deliveries if each not in wanted]
            moved.passed_over += len(deliveries) - len(wanted)
            await target.publish(
                [
                    msgspec.structs.replace(
                        each.message, exchange="", routing_key=order.queues[each.queue]
                    )
                    for each in wanted
                ]
            )
            if order.take:
                await source.ack(wanted)
            else:
                kept += wanted
            for each in wanted:
                moved.count += 1
                tell(each, _task_of(each))
    finally:
        if kept:
            await source.nack(kept)
    waiting = await source.stats(names)
    moved.not_due = sum(stats.delayed for stats in waiting.values())
    return moved


def _is_wanted(delivery: Delivery, tasks: Collection[str] | None) -> bool:
    return tasks is None or _task_of(delivery) in tasks


def _task_of(delivery: Delivery) -> str:
    try:
        return str(headers.read(delivery.message).get("task", ""))
    except (ValueError, msgspec.MsgspecError):
        # Not a task's; it is carried as it is unless names are asked for.
        return ""
