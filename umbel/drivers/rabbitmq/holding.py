"""Messages of tasks that run for long: kept where no ``consumer_timeout`` counts.

RabbitMQ closes the channel of who has not acknowledged a message for half an hour, and gives the
message to somebody else. So what is held for long is moved to a queue of our own, as what was
begun is noted (:mod:`umbel.drivers.rabbitmq.begun`): a copy for as long as we live and say so,
from which RabbitMQ moves it back to where it came from when we no longer do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from umbel.drivers.rabbitmq import marks
from umbel.drivers.rabbitmq.begun import Begun, Shelf
from umbel.drivers.rabbitmq.consuming import Consumer
from umbel.drivers.rabbitmq.deaths import Deaths
from umbel.drivers.rabbitmq.topology import YOUNG
from umbel.exceptions import BatchError, BrokerUnavailable, OperationalError, QueueConflict
from umbel.model import Delivery, Message, Queue

__all__ = ["Holding", "Mover"]

logger = logging.getLogger(__name__)

_STEPS = 3
"""In how many steps a message grows old; moved after as many, at half of its time."""


class Holding(Begun):
    """Copies of what is held for long; they survive a restart of RabbitMQ."""

    kind = "held"

    def _notes(self, place: str, deliveries: Sequence[Delivery]) -> Iterator[Message]:
        now = self._clock.time()
        for each in deliveries:
            yield msgspec.structs.replace(
                each.message,
                exchange="",
                routing_key=place,
                # Should we die, that was one attempt.
                headers=marks.marked(each.message, now, expires_at=None, attempts=each.attempt),
                not_before=None,
                expires_at=None,
            )

    async def _provide(self, shelf: Shelf) -> None:
        is_new = not shelf.has_notes
        await super()._provide(shelf)
        if is_new and self._topology.is_quorum(shelf.queue) is not False:
            await asyncio.sleep(YOUNG)

    def _ended(self, shelf: object, tags: list[str]) -> None:
        # What has ended must not run again: off the shelf with it, at once.
        self.rewrite()

    def _destination(self, queue: str) -> Queue:
        return Queue(queue)


class Mover:
    """Moves what is held for long, before RabbitMQ loses patience.

    Args:
        consumer_timeout: RabbitMQ's, in seconds.
    """

    def __init__(
        self,
        consumer: Consumer,
        holding: Holding,
        deaths: Deaths,
        *,
        consumer_timeout: float,
    ) -> None:
        self._consumer = consumer
        self._holding = holding
        self._deaths = deaths
        self._step = consumer_timeout / (2 * _STEPS)
        self._moving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, now and then, for what is held for long. Idempotent."""
        if self._moving is None:
            self._moving = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End it. Idempotent."""
        moving, self._moving = self._moving, None
        if moving is not None:
            moving.cancel()
            await asyncio.wait([moving])

    async def _run(self) -> None:
        seen = [self._consumer.latest()] * (_STEPS + 1)
        while True:
            await asyncio.sleep(self._step)
            seen = [*(later for _, later in pairwise(seen)), self._consumer.latest()]
            held = self._consumer.held_since(seen[0])
            if not held:
                continue
            # From now on the message says it.
            old = [_as_of(each, self._deaths.deaths_with(each)) for each in held]
            try:
                self._holding.expect(old)
                await self._holding.note(old)
            except (BatchError, BrokerUnavailable, OperationalError, QueueConflict) as error:
                self._holding.strike(old)
                logger.warning(
                    "Could not keep %d messages of long tasks safe from RabbitMQ's "
                    "consumer_timeout; trying again: %s",
                    len(old),
                    error,
                )
            else:
                self._holding.strike(self._consumer.ack(old))
                self._deaths.end(old, self._deaths.starts(old))


def _as_of(delivery: Delivery, attempt: int) -> Delivery:
    return msgspec.structs.replace(delivery, attempt=attempt)
