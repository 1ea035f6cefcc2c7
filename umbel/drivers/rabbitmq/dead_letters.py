"""Dead letters in RabbitMQ: messages about messages, in a durable queue of their own."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

import msgspec

from umbel.exceptions import QueueConflict
from umbel.model import DeadLetter, Delivery, Message, Queue, Retention
from umbel.protocols import Broker

__all__ = ["QUEUE", "RabbitMQDeadLetters"]

logger = logging.getLogger(__name__)

QUEUE = "umbel.dead"
_CONTENT_TYPE = "application/x-umbel-dead"
_AT_ONCE = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeadLetter).decode


class RabbitMQDeadLetters:
    """Implements ``umbel.protocols.DeadLetterStore``.

    A queue can only be read from its beginning: who looks takes all of them for a moment, and
    gives back what stays.
    """

    def __init__(self, carrier: Broker, keep: Retention) -> None:
        self._carrier = carrier
        self._queue = Queue(QUEUE, max_length=keep.count, message_ttl=keep.seconds)
        self._declared = False
        # Two that look at once would see half of them each.
        self._looking = asyncio.Lock()

    async def add(self, deliveries: Sequence[Delivery], reason: str, now: float) -> None:
        """Keep these; they are still the caller's."""
        await self._declare()
        await self._carrier.publish(
            [
                Message(
                    id=secrets.token_hex(8),
                    body=_encode(
                        DeadLetter(
                            id=secrets.token_hex(8),
                            queue=each.queue,
                            message=each.message,
                            attempt=each.attempt,
                            reason=reason,
                            dropped_at=now,
                        )
                    ),
                    content_type=_CONTENT_TYPE,
                    content_encoding="binary",
                    routing_key=QUEUE,
                )
                for each in deliveries
            ]
        )

    async def count(self) -> int:
        """How many there are."""
        await self._declare()
        return (await self._carrier.stats([QUEUE]))[QUEUE].ready

    async def latest(self, *, limit: int, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first."""
        letters = await self._read(set())
        return letters[::-1][skip : skip + limit]

    async def load(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these that exist."""
        wanted = set(ids)
        return [letter for letter in await self._read(set()) if letter.id in wanted]

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many there were."""
        unwanted = set(ids)
        if not unwanted:
            return 0
        return sum(letter.id in unwanted for letter in await self._read(unwanted))

    async def _read(self, unwanted: set[str]) -> list[DeadLetter]:
        """All of them, the oldest first; what is unwanted is forgotten, the others are not."""
        await self._declare()
        letters: list[DeadLetter] = []
        held: list[Delivery] = []
        done: list[Delivery] = []
        async with self._looking:
            try:
                while batch := await self._carrier.receive([QUEUE], limit=_AT_ONCE, wait=0):
                    held += batch
                    for delivery in batch:
                        try:
                            letter = _decode(delivery.message.body)
                        except msgspec.MsgspecError:
                            # Somebody else's: left where it is.
                            continue
                        letters.append(letter)
                        if letter.id in unwanted:
                            done.append(delivery)
            finally:
                tags = {delivery.tag for delivery in done}
                await self._carrier.ack(done)
                await self._carrier.nack([each for each in held if each.tag not in tags])
        return letters

    async def _declare(self) -> None:
        if self._declared:
            return
        try:
            await self._carrier.declare([self._queue])
        except QueueConflict as error:
            # With other bounds than ours: those hold until somebody deletes it.
            logger.warning("The queue of the dead letters stays as it is: %s", error)
        self._declared = True
