"""Redis as a broker, in kombu's layout: Celery's workers and ours share queues.

Messages wait in kombu's lists. Taking some and noting their lease in kombu's ``unacked`` is one
script, so that nothing is lost between the two. A lease is a moment in the future, which no
Celery worker takes for old; what umbel workers do not renew any umbel worker gives back, and if
none is left, a Celery worker does, a visibility timeout later.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import hiredis
from msgspec.structs import replace

from umbel.drivers.redis import address
from umbel.drivers.redis.bindings import Bindings
from umbel.drivers.redis.broadcasts import Broadcasts
from umbel.drivers.redis.channels import Channels
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.dead_letters import RedisDeadLetters
from umbel.drivers.redis.keys import Keys, Lists
from umbel.drivers.redis.link import LinkLost, Reply, pack
from umbel.drivers.redis.loans import LOADED, Loans
from umbel.drivers.redis.marks import MARK, unmarked, was_handed_out
from umbel.drivers.redis.news import News
from umbel.drivers.redis.options import client_options, option
from umbel.drivers.redis.ordering import QueueOrder
from umbel.drivers.redis.publishing import Publisher
from umbel.drivers.redis.revocations import RedisRevocations
from umbel.drivers.redis.schedules import RedisSchedules
from umbel.drivers.redis.scripts import script
from umbel.drivers.redis.upkeep import Upkeep
from umbel.exceptions import BrokerUnavailable, DecodeError
from umbel.model import Delivery, Message, Queue, QueueStats, Retention
from umbel.protocols import Capabilities, Clock
from umbel.wire import envelope

__all__ = ["RedisBroker"]

logger = logging.getLogger(__name__)

_KEEP_DEAD = Retention()

_TAKE = script("take")
_RETAKE = script("retake")
_PURGE = script("purge")
_STATS = script("stats")
# What every connection needs at once; the others are sent when first used.
_LOADED = (_TAKE, *LOADED, script("enqueue"))

_VISIBILITY_TIMEOUT = 3600.0
_COUNTED = 100_000
_TAIL = 512
"""Bytes at the end of an envelope in which kombu says that it was given back."""
_LOSSES_BORNE = 3
"""Connections that may break under one receive, one after the other, before it fails."""


class RedisBroker:
    """Implements ``umbel.protocols.Broker``.

    Args:
        lease: Seconds a delivery is ours unless extended.
        keep_dead: Which dead letters are kept.
        transport_options: kombu's, of the same names: ``global_keyprefix``, ``priority_steps``,
            ``visibility_timeout``, ``socket_timeout``, …
        max_retries: Further attempts to connect before a call fails.
        exchange_type: The type of an exchange by its name, as far as the program knows it: only
            its consumers could tell what is a fanout exchange's, and they may be Celery's.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        lease: float = 20.0,
        keep_dead: Retention = _KEEP_DEAD,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int | None = 3,
        exchange_type: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        where = address.parse(url, transport_options)
        options = where.options
        self._clock = clock
        self._lease = lease
        self._keep_dead = keep_dead
        self._keys = Keys(options)
        self._name = secrets.token_hex(6)
        self.client_name = str(options.get("client_name") or f"umbel-{self._name}")
        """As ``CLIENT LIST`` shows this broker's connection."""
        patience = client_options(
            options,
            name=self.client_name,
            connect_timeout=connect_timeout,
            max_retries=max_retries,
            tracking=True,
        )
        self._news = News()
        self._client = Client(
            where,
            clock=clock,
            options=patience,
            error=BrokerUnavailable,
            scripts=_LOADED,
            on_push=self._news.heard,
            on_lost=self._news.wake,
        )
        channels = Channels(options, where.db)
        self._broadcasts = Broadcasts(
            partial(
                Client,
                where,
                clock=clock,
                options=replace(patience, name=f"{self.client_name}-fanout", tracking=False),
                error=BrokerUnavailable,
            ),
            channels,
            news=self._news.wake,
        )
        self._closing = False
        self._takes = 0
        self._under_way: set[asyncio.Future[list[Reply]]] = set()
        self._unanswered: list[tuple[str, float]] = []
        self._lists_by_queues: dict[tuple[str, ...], Lists] = {}
        self._build(options, channels, exchange_type)

    def _build(
        self,
        options: Mapping[str, object],
        channels: Channels,
        exchange_type: Callable[[str], str | None],
    ) -> None:
        """Make what works over the connections."""
        clock = self._clock
        self.revocations = RedisRevocations(self._client, self._keys)
        bindings = Bindings(self._client, self._keys, clock)
        self._bindings = bindings
        self._loans = Loans(
            self._client,
            self._keys,
            self._broadcasts,
            self._clock,
            lease=self._lease,
            keep_dead=self._keep_dead,
        )
        self.dead_letters = RedisDeadLetters(self._client, self._keys)
        self._publisher = Publisher(
            self._client,
            self._keys,
            bindings,
            clock,
            name=self._name,
            channels=channels,
            exchange_type=exchange_type,
        )
        self.schedules = RedisSchedules(self._client, self._keys, self._publisher, clock)
        self._upkeep = Upkeep(
            self._client,
            self._keys,
            bindings,
            clock,
            name=self._name,
            lease=self._lease,
            visibility_timeout=option(options, "visibility_timeout", _VISIBILITY_TIMEOUT),
        )
        self._order = QueueOrder(options.get("queue_order_strategy") or "priority")

    @property
    def capabilities(self) -> Capabilities:
        """What Redis can do by itself."""
        return Capabilities(
            lease=self._lease, delay=True, priority="low-first", ordered=True, wakeup=True
        )

    @property
    def skew(self) -> float:
        """Seconds by which the server's clock is ahead of ours; 0.0 when it does not matter."""
        return self._upkeep.skew

    async def open(self) -> None:
        """Connect. Idempotent."""
        self._closing = False
        await self._client.open()

    async def close(self) -> None:
        """Give back every unsettled delivery, then disconnect. Idempotent.

        Without a connection the deliveries come back when their lease runs out.
        """
        # A receive that waits must not take again what is given back here.
        self._closing = True
        self._news.wake()
        try:
            if self._client.connected:
                if self._under_way:
                    await asyncio.wait(self._under_way)
                await self._loans.leave()
                await self._upkeep.leave()
                await self._bindings.forget(self._broadcasts.passing())
        except BrokerUnavailable as exc:
            logger.warning("Messages in hand come back when their lease runs out: %s", exc)
        finally:
            await self._broadcasts.close()
            await self._client.close()

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Write the bindings. A list exists by having something in it."""
        await self._bindings.declare(queues)
        await self._broadcasts.declare(queues)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages into their lists; one write for all of them."""
        if messages:
            await self._publisher.publish(messages)

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Lease up to ``limit`` messages, within one priority the first queue first, unless
        ``queue_order_strategy`` asks for another order."""
        if limit <= 0 or not queues:
            return []
        order = self._order.of(queues)
        lists = self._lists(order)
        clock = self._clock
        deadline = clock.monotonic() + wait
        heard = self._broadcasts.among(queues)
        if heard:
            await self._broadcasts.listen(heard)
        misses = losses = 0
        while not self._closing:
            try:
                if self._upkeep.due_in(clock.monotonic()) <= 0:
                    orphans = await self._care(queues, lists, limit)
                    if orphans:
                        return orphans
                if self._unanswered:
                    await self._retake()
                deliveries, next_due = await self._take(lists, limit)
            except LinkLost as exc:
                losses += 1
                if losses > _LOSSES_BORNE:
                    raise self._client.lost(exc) from exc
                continue
            losses = 0
            if heard:
                deliveries += self._broadcasts.take(heard, limit - len(deliveries))
            now = clock.monotonic()
            if deliveries or now >= deadline:
                if len(order) > 1:
                    self._order.served((delivery.queue for delivery in deliveries), order)
                return deliveries
            pause = min(deadline - now, next_due, max(self._upkeep.due_in(now), 0.001))
            misses = await self._news.wait(self._client, lists.look, pause, misses)
        return []

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Never deliver the messages as work again; returns those already lost."""
        return await self._loans.begin(deliveries)

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that the messages are about to be run; returns those already lost."""
        return await self._loans.start(deliveries)

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; returns those whose lease had already been lost."""
        return await self._loans.ack(deliveries)

    async def nack(
        self,
        deliveries: Sequence[Delivery],
        *,
        requeue: bool = True,
        delay: float = 0.0,
        counts: bool = False,
        reason: str = "",
    ) -> list[Delivery]:
        """Give the messages back, or put them with the dead letters."""
        if requeue:
            return await self._loans.give_back(deliveries, delay=delay, counts=counts)
        return await self._loans.drop(deliveries, reason)

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Hold on to the messages for ``lease`` seconds from now; returns those already lost."""
        return await self._loans.extend(deliveries, lease=lease)

    @property
    def holder(self) -> str:
        """What the tags of this client's leases begin with."""
        return self._name

    async def extend_all(self, holder: str, queues: Sequence[str], *, lease: float) -> int:
        """Hold on to all that a client has on loan of these queues; returns how many."""
        return await self._loans.extend_all(holder, queues, lease=lease)

    async def purge(self, queues: Sequence[str]) -> int:
        """Drop every message nobody holds; returns how many."""
        if not queues:
            return 0
        keys = self._keys
        lists = [name for name, _ in keys.lists(queues)]
        dropped = await self._client.run(
            _PURGE, (keys.unacked, keys.unacked_index, keys.delayed, *lists), again=True
        )
        return int(dropped)

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Ready, leased and delayed messages per queue, Celery's share included."""
        if not queues:
            return {}
        keys = self._keys
        lists = keys.lists(queues)
        endings = [keys.suffix(queue).rpartition(b",")[2] for _, queue in lists]
        counts: list[int] = await self._client.run(
            _STATS,
            (
                keys.unacked,
                keys.unacked_index,
                keys.quarantine_index,
                *(name for name, _ in lists),
                *(keys.begun(queue) for queue in queues),
            ),
            (_COUNTED, len(lists), *endings),
            again=True,
        )
        totals = {queue: [0, 0, 0] for queue in queues}
        for place, (_, queue) in enumerate(lists):
            for kind in range(3):
                totals[queue][kind] += counts[3 * place + kind]
        return {
            queue: QueueStats(ready=ready, leased=leased, delayed=delayed)
            for queue, (ready, leased, delayed) in totals.items()
        }

    # Taking ---------------------------------------------------------------------------------

    def _lists(self, names: tuple[str, ...]) -> Lists:
        lists = self._lists_by_queues.get(names)
        if lists is None:
            if len(self._lists_by_queues) > 100:
                self._lists_by_queues.clear()
            lists = self._lists_by_queues[names] = Lists(self._keys, names)
        return lists

    async def _take(self, lists: Lists, limit: int) -> tuple[list[Delivery], float]:
        """Lease what is there; and the seconds until the next parked message is due."""
        beginning = self._beginning()
        arguments: tuple[str | bytes | float, ...] = (
            limit,
            self._lease,
            beginning,
            *lists.suffixes,
        )
        sent_at = self._clock.monotonic()
        packed = self._client.packed(_TAKE, lists.keys, arguments)
        reply = await self._answer(packed, beginning, sent_at)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            sent_at = self._clock.monotonic()
            packed = pack("EVAL", _TAKE.source, len(lists.keys), *lists.keys, *arguments)
            reply = await self._answer(packed, beginning, sent_at)
        if isinstance(reply, hiredis.ReplyError):
            raise self._client.failure(reply, doing="receive")
        answer: Sequence[bytes | None] = reply
        if answer[1]:
            logger.error("A queue cannot be read: %s", answer[1].decode("utf-8", "replace"))
        next_due = math.inf if answer[0] is None else max(float(answer[0]), 0.0)
        if len(answer) == 2:
            return [], next_due
        return self._deliveries(reply[2:], lists, sent_at + self._lease), next_due

    def _beginning(self) -> str:
        """What the next tags begin with."""
        self._takes += 1
        # Wide: Redis looks through a zset whose members are all short (zset-max-listpack-value:
        # 64 bytes) from its beginning, reading every score on the way, for each one it adds.
        return f"{self._name}.{self._takes:040x}."

    async def _care(self, queues: Sequence[str], lists: Lists, limit: int) -> list[Delivery]:
        """Do the upkeep; what dead workers had begun."""
        sent_at = self._clock.monotonic()
        found = await self._upkeep.run(queues, self._beginning(), limit)
        return self._deliveries(found, lists, sent_at + self._lease, begun=True)

    async def _answer(self, packed: bytes, beginning: str, sent_at: float) -> Reply:
        """The reply of a take, which must not be missed: there may be messages in it.

        Raises:
            LinkLost: It went down with the connection.
        """
        future = await self._client.begin(packed, 1)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        try:
            return (await asyncio.shield(future))[0]
        except asyncio.CancelledError:
            future.add_done_callback(self._return_unseen)
            raise
        except LinkLost:
            self._unanswered.append((beginning, sent_at))
            raise

    def _return_unseen(self, future: asyncio.Future[list[Reply]]) -> None:
        """Give back what arrived for a caller who had gone."""
        if future.cancelled() or future.exception() is not None:
            return
        reply = future.result()[0]
        if isinstance(reply, hiredis.ReplyError) or len(reply) == 2:
            return
        self._loans.unlend(tag.decode() for tag in reply[2::2])

    async def _retake(self) -> None:
        """Give back what was leased by takes whose answer went down with a connection."""
        keys = (self._keys.unacked, self._keys.unacked_index)
        for take in tuple(self._unanswered):
            beginning, sent_at = take
            elapsed = self._clock.monotonic() - sent_at
            if elapsed < self._lease:
                await self._client.run(_RETAKE, keys, (self._lease, elapsed, beginning), again=True)
            # Only now, and perhaps by a receive that ran beside this one already.
            if take in self._unanswered:
                self._unanswered.remove(take)

    def _deliveries(
        self, found: Sequence[bytes], lists: Lists, leased_until: float, *, begun: bool = False
    ) -> list[Delivery]:
        deliveries: list[Delivery] = []
        hold = self._loans.hold
        queue_by_list = lists.queue_by_list
        for place in range(0, len(found), 2):
            raw = found[place + 1]
            tag = found[place].decode()
            _, _, _, handed, _, name = tag.split("|", 5)
            queue = queue_by_list[name]
            attempt = int(handed) + 1
            is_marked = raw.startswith(MARK)
            defect = None
            try:
                message = envelope.decode(unmarked(raw) if is_marked else raw)
            except DecodeError as exc:
                message = Message(id="", body=raw)
                defect = str(exc)
                tag = self._loans.confine(tag)
            hold(tag, self._keys.begun(queue) if begun else None)
            deliveries.append(
                Delivery(
                    message=message,
                    queue=queue,
                    tag=tag,
                    attempt=attempt,
                    redelivered=attempt > 1
                    or (is_marked and was_handed_out(raw))
                    # Only kombu writes this key.
                    or raw.find(b'"redelivered":', len(raw) - _TAIL) >= 0,
                    begun=begun,
                    leased_until=leased_until,
                    defect=defect,
                )
            )
        return deliveries
