"""Queues of fanout exchanges: what is published to one is said on a channel, and kept nowhere.

So it is in kombu: a message reaches every consumer that listens at that moment, Celery's and
ours, and cannot be given back to anybody but its consumer. Such a queue has a binding and a list
too: a producer that does not know what type the exchange is (Celery's clients mostly do not)
takes it for a direct one, and writes to the list.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable, Sequence

from umbel.drivers.redis.channels import Channels
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import Push, pack
from umbel.drivers.redis.subscriptions import Inbox, Subscriptions, subscribe
from umbel.exceptions import BrokerUnavailable, DecodeError
from umbel.model import Delivery, Message, Queue
from umbel.wire import envelope

__all__ = ["HEARD", "Broadcasts"]

logger = logging.getLogger(__name__)

HEARD = "umbel|B|"
"""How the tags of what came over a channel begin: there is nothing of it in Redis."""
_Heard = tuple[bytes, int, bool]
"""An envelope, the attempt it is, and whether it has been handed out before."""
_MOST_KEPT = 10_000
"""Messages kept for a queue whose consumer does not fetch them; then the older half is dropped."""


class Broadcasts:
    """The broker's ear: queues of fanout exchanges that are consumed here.

    Args:
        make_client: A connection that only listens.
        news: Called when there is something to take.
    """

    def __init__(
        self,
        make_client: Callable[..., Client],
        channels: Channels,
        *,
        news: Callable[[], None],
    ) -> None:
        self._client = make_client(on_push=self._heard, on_lost=self._disturb)
        self._channels = channels
        self._news = news
        self._passing_by_name: dict[str, Queue] = {}
        self._globs_by_queue: dict[str, tuple[str, ...]] = {}
        self._inbox_by_queue: dict[str, Inbox[_Heard]] = {}
        self._lent: dict[str, tuple[str, _Heard]] = {}
        self._numbers = itertools.count(1)
        self._subscriptions = Subscriptions[_Heard](
            self._client, begin=self._begin, end="PUNSUBSCRIBE"
        )

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Learn which queues are fanout exchanges'.

        One that comes and goes with its consumer is declared by nobody else, and listened to from
        now on; the others from their first :meth:`take`.
        """
        for queue in queues:
            ways = [(binding.exchange, binding.routing_key) for binding in queue.bindings]
            if queue.exchange is not None:
                ways.append((queue.exchange, queue.routing_key))
            globs = tuple(
                glob
                for exchange, routing_key in ways
                if exchange.type == "fanout" and exchange.name
                for glob in self._channels.globs(exchange.name, routing_key)
            )
            if globs:
                self._globs_by_queue[queue.name] = globs
                if queue.auto_delete or queue.exclusive:
                    self._passing_by_name[queue.name] = queue
                    await self._listen(queue.name)

    def passing(self) -> list[Queue]:
        """The queues that go with their consumer, which is us."""
        return list(self._passing_by_name.values())

    def among(self, queues: Sequence[str]) -> Sequence[str]:
        """Those of the queues that are fanout exchanges'; mostly none."""
        if not self._globs_by_queue:
            return ()
        return [queue for queue in queues if queue in self._globs_by_queue]

    async def listen(self, queues: Sequence[str]) -> None:
        """Listen to them, unless we do."""
        for queue in queues:
            if queue not in self._inbox_by_queue:
                await self._listen(queue)

    def take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """What has been heard for the queues."""
        deliveries: list[Delivery] = []
        for queue in queues:
            inbox = self._inbox_by_queue.get(queue)
            if inbox is not None:
                heard = inbox.take(limit - len(deliveries))
                deliveries += [self._delivery(queue, *each) for each in heard]
        return deliveries

    def settle(self, tags: Sequence[str], *, keep: bool) -> set[str]:
        """Forget what is done, unless it is to be kept; the tags that were not lent any more."""
        lost = {tag for tag in tags if tag not in self._lent}
        if not keep:
            for tag in tags:
                self._lent.pop(tag, None)
        return lost

    def give_back(self, tags: Sequence[str], delay: float, *, counts: bool) -> set[str]:
        """Have them taken again, after a while; the tags that were not lent any more."""
        lost = self.settle(tags, keep=True)
        for tag in reversed(tags):
            found = self._lent.pop(tag, None)
            if found is None:
                continue
            queue, (raw, attempt, _) = found
            again = (raw, attempt + 1 if counts else attempt, True)
            if delay > 0:
                asyncio.get_running_loop().call_later(delay, self._put, queue, again)
            else:
                self._put(queue, again)
        return lost

    def _heard(self, push: Push) -> None:
        if push[0] == b"pmessage":
            for inbox in self._subscriptions.listeners(push[1].decode()):
                inbox.add((push[3], 1, False))
            self._news()

    def _disturb(self) -> None:
        self._subscriptions.disturb()

    async def close(self) -> None:
        """Stop listening. What was heard and not taken is gone, as if nobody had listened."""
        await self._subscriptions.close(BrokerUnavailable("the broker was closed"))
        for queue, inbox in self._inbox_by_queue.items():
            self._subscriptions.leave(self._globs_by_queue[queue], inbox)
        self._inbox_by_queue.clear()
        self._lent.clear()
        await self._client.close()

    async def _listen(self, queue: str) -> None:
        if queue in self._inbox_by_queue:
            return
        self._client.permit()
        inbox = self._inbox_by_queue[queue] = Inbox[_Heard](_MOST_KEPT)
        try:
            await self._subscriptions.enter(self._globs_by_queue[queue], inbox)
        except BaseException:
            self._subscriptions.leave(self._globs_by_queue[queue], inbox)
            del self._inbox_by_queue[queue]
            raise

    async def _begin(self, globs: Sequence[str]) -> None:
        await subscribe(self._client, "PSUBSCRIBE", globs, pack("PING"))

    def _put(self, queue: str, heard: _Heard) -> None:
        inbox = self._inbox_by_queue.get(queue)
        if inbox is not None:
            inbox.add(heard)
            self._news()

    def _delivery(self, queue: str, raw: bytes, attempt: int, redelivered: bool) -> Delivery:
        tag = f"{HEARD}{next(self._numbers):x}"
        self._lent[tag] = queue, (raw, attempt, redelivered)
        defect = None
        try:
            message = envelope.decode(raw)
        except DecodeError as exc:
            message = Message(id="", body=raw)
            defect = str(exc)
        return Delivery(
            message=message,
            queue=queue,
            tag=tag,
            attempt=attempt,
            redelivered=redelivered,
            leased_until=math.inf,
            defect=defect,
        )
