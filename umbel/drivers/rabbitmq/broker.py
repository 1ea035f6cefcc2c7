"""RabbitMQ as a broker, in Celery's topology: Celery's workers and ours share queues.

Two connections: messages go out over one, which RabbitMQ may block when it is short of memory,
and come in over the other, so that acknowledgements never wait.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from operator import attrgetter

from umbel.drivers.rabbitmq import address
from umbel.drivers.rabbitmq.begun import Begun
from umbel.drivers.rabbitmq.connection import Client, options_of
from umbel.drivers.rabbitmq.consuming import Consumer
from umbel.drivers.rabbitmq.dead_letters import RabbitMQDeadLetters
from umbel.drivers.rabbitmq.deaths import Deaths
from umbel.drivers.rabbitmq.delays import Delays
from umbel.drivers.rabbitmq.holding import Holding, Mover
from umbel.drivers.rabbitmq.loans import Loans
from umbel.drivers.rabbitmq.options import check
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.pulse import Pulse
from umbel.drivers.rabbitmq.salvage import Salvage
from umbel.drivers.rabbitmq.topology import Topology, default_queue
from umbel.exceptions import (
    BatchError,
    BrokerBlocked,
    BrokerUnavailable,
    ImproperlyConfigured,
)
from umbel.model import Delivery, Message, Queue, QueueStats, Retention
from umbel.protocols import Capabilities, Clock, Lifeline

__all__ = ["RabbitMQBroker"]

_KEEP_DEAD = Retention()

_not_before = attrgetter("not_before")


class RabbitMQBroker:
    """Implements ``umbel.protocols.Broker``.

    Deliveries are ours as long as the connection lives: there is nothing to renew. What is not
    due waits in RabbitMQ (:mod:`umbel.drivers.rabbitmq.delays`), the last part of a second here.

    Args:
        url: One, or several with ``;`` between them, tried in order.
        transport_options: ``heartbeat`` (seconds), ``connect_timeout``, ``confirm_timeout``
            (seconds until a publish that RabbitMQ does not confirm fails), ``answer_timeout``
            (seconds until a connection that leaves a question unanswered is given up), ``ssl``
            (as ``broker_use_ssl``), ``login_method``, ``client_name``,
            ``native_delayed_delivery_queue_type`` (``quorum`` or ``classic``), ``consumer_timeout``
            (seconds; the server's own, where it is not half an hour), ``failover_strategy``.
        max_retries: Further attempts to connect before a call fails; None: for ever.
        make_queue: What is made of the name of a queue that does not exist; by default what
            Celery makes of it.
        replies: The queue that the results of what is published here come to; it exists before
            the first message is out.
        keep_dead: Which dead letters are kept, as long as nobody has declared their queue.
        notice_within: Seconds after which others learn what was begun here, when we are dead.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int | None = 3,
        make_queue: Callable[[str], Queue] = default_queue,
        replies: Queue | None = None,
        notice_within: float = 16.0,
        keep_dead: Retention = _KEEP_DEAD,
    ) -> None:
        options = transport_options or {}
        check(options)
        addresses = address.parse(url, options.get("ssl"))
        client_options = options_of(
            options,
            connect_timeout=connect_timeout,
            max_retries=max_retries,
            name=f"umbel-{secrets.token_hex(6)}",
        )
        self._patience = client_options.connect_timeout
        self._silence = 2 * client_options.heartbeat
        connected = partial(
            Client,
            addresses,
            clock=clock,
            options=client_options,
            error=BrokerUnavailable,
            blocked_error=BrokerBlocked,
        )
        strategy = options.get("failover_strategy")
        self._outgoing = connected(on_lost=self._restore, order=address.turns(url, strategy))
        self._incoming = connected(on_lost=self._doubt_topology, order=address.turns(url, strategy))
        self._topology = Topology(self._outgoing, make_queue, better=self._incoming)
        self._needed: list[str] = []
        if replies is not None:
            self._topology.know(replies)
            self._needed.append(replies.name)
        self._publisher = Publisher(
            self._outgoing,
            self._topology,
            clock,
            confirm_timeout=float(str(options.get("confirm_timeout") or 30.0)),
        )
        self._delays = Delays(
            self._topology,
            clock,
            queue_type=_delay_type(options.get("native_delayed_delivery_queue_type") or "quorum"),
        )
        self._prepare_lending(
            clock,
            notice_within=notice_within,
            consumer_timeout=float(str(options.get("consumer_timeout") or 1800.0)),
        )
        self._clock = clock
        self.dead_letters = RabbitMQDeadLetters(self, keep_dead)
        self.client_name = client_options.name
        """As ``rabbitmqctl list_connections`` shows it."""

    def _prepare_lending(
        self, clock: Clock, *, notice_within: float, consumer_timeout: float
    ) -> None:
        """Make what takes messages, and what keeps them while they are worked on."""
        name = f"umbel-{secrets.token_hex(6)}"
        self._begun = Begun(
            name, self._publisher, self._topology, clock, notice_within=notice_within
        )
        self._salvage = Salvage(
            self._incoming,
            self._topology,
            self._publisher,
            clock=clock,
            name=name,
            # Turned four times in its life, a note is followed by nothing younger than this.
            gather_for=notice_within / 2,
        )
        self._deaths = Deaths(self._incoming, self._topology, self._publisher, name=name)
        self._consumer = Consumer(
            self._incoming, self._topology, clock, self._salvage, self._deaths
        )
        self._holding = Holding(
            name, self._publisher, self._topology, clock, notice_within=4 * notice_within
        )
        self._pulse = Pulse(clock)
        self._mover = Mover(
            self._consumer, self._holding, self._deaths, consumer_timeout=consumer_timeout
        )
        self._loans = Loans(
            self._outgoing,
            self._publisher,
            self._delays,
            clock,
            consumer=self._consumer,
            begun=self._begun,
            holding=self._holding,
            salvage=self._salvage,
            deaths=self._deaths,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What RabbitMQ can do by itself; priorities in queues that have ``max_priority``."""
        return Capabilities(
            delay=True, delayed_apart=True, priority="high-first", ordered=True, wakeup=True
        )

    @property
    def silence(self) -> float:
        """Two heartbeats."""
        return self._silence

    async def secure(self) -> None:
        """Have the connection that messages are taken from."""
        await self._incoming.link()

    @property
    def lifeline(self) -> Lifeline | None:
        """Of the connection that messages are taken from; what is sent on it is small."""
        return self._incoming.lifeline

    async def open(self) -> None:
        """Connect. Idempotent."""
        self._outgoing.permit()
        self._incoming.permit()
        self._consumer.permit()
        await self._outgoing.link()

    async def close(self) -> None:
        """Give back every unsettled delivery, then disconnect. Idempotent."""
        self._pulse.stop()
        async with AsyncExitStack() as last:
            last.push_async_callback(self._outgoing.close)
            last.push_async_callback(self._incoming.close)
            last.push_async_callback(self._consumer.close)
            # Without a connection it is found all the same, in a while.
            with suppress(BrokerUnavailable, TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._mover.stop()
                    await self._loans.close()
                    await self._begun.close()
                    await self._holding.close()

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues and their bindings exist."""
        await self._topology.declare(queues)
        await self._delays.bind(queues)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish; one write for all of them, then wait for RabbitMQ to confirm each."""
        if messages:
            await self._topology.ensure(self._needed)
            if any(map(_not_before, messages)):
                await self._publish_delayed(messages)
            else:
                await self._publisher.publish(messages)

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Take up to ``limit`` messages, the first queue first."""
        if limit <= 0 or not queues:
            return []
        self._mover.start()
        self._pulse.start()
        return await self._consumer.receive(queues, limit=limit, wait=wait)

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note the messages where they are found when we are dead, and acknowledge them."""
        return await self._loans.begin(deliveries)

    async def rest(self) -> None:
        """Give back what RabbitMQ has sent and nobody has received; consume no more meanwhile."""
        self._consumer.rest()

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Say that these are run, where that may have killed their holders: it may kill us."""
        return await self._loans.start(deliveries)

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; returns those that had been given back already."""
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
        """Give the messages back, or put them with the dead letters, and into the dead-letter
        exchange of their queue if it has one."""
        if not requeue and deliveries:
            # Only what is ours; and before it is dropped.
            gone = {delivery.tag for delivery in self._loans.lost(deliveries)}
            ours = [delivery for delivery in deliveries if delivery.tag not in gone]
            if ours:
                await self.dead_letters.add(ours, reason, self._clock.time())
        return await self._loans.nack(deliveries, requeue=requeue, delay=delay, counts=counts)

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Nothing to renew; returns those that had been given back already."""
        # A process that stood still has not read yet that its connection was closed.
        if deliveries and self._pulse.stood_still:
            await self._consumer.settled()
            self._pulse.forgive()
        return self._loans.lost(deliveries)

    async def purge(self, queues: Sequence[str]) -> int:
        """Drop every message that no consumer has; returns how many."""
        purged = 0
        for queue in queues:
            purged += await self._topology.purge(queue) + self._consumer.purge(queue)
        return purged

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Ready messages per queue, and those held by this client; RabbitMQ tells no more."""
        found: dict[str, QueueStats] = {}
        await self._consumer.settled()
        for queue in queues:
            ready = await self._topology.count(queue) or 0
            waiting, held, parked = self._consumer.counts(queue)
            leased = held + self._begun.count(queue) + self._holding.count(queue)
            found[queue] = QueueStats(ready=ready + waiting, leased=leased, delayed=parked)
        return found

    def _doubt_topology(self) -> None:
        self._topology.forget()
        self._delays.forget()

    def _restore(self) -> None:
        """RabbitMQ may have been restarted."""
        self._doubt_topology()
        self._begun.rewrite()
        self._holding.rewrite()

    async def _publish_delayed(self, messages: Sequence[Message]) -> None:
        """Publish messages some of which are not due yet."""
        wrapped, refused = await self._delays.wrap(messages)
        places = [index for index in range(len(messages)) if index not in refused]
        try:
            await self._publisher.publish(wrapped)
        except BatchError as exc:
            refused.update({places[index]: why for index, why in exc.errors.items()})
        if refused:
            first = refused[min(refused)]
            raise BatchError(
                f"{len(refused)} of {len(messages)} messages were refused: {first}",
                dict(sorted(refused.items())),
            )


def _delay_type(asked: object) -> str:
    if asked not in {"quorum", "classic"}:
        raise ImproperlyConfigured(
            f"broker_native_delayed_delivery_queue_type is {asked!r}; it must be 'quorum' or "
            "'classic'"
        )
    return str(asked)
