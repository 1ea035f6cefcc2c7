"""The RabbitMQ drivers against the contracts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count

import amqp
import msgspec
import pytest

from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.drivers.rabbitmq.fanout import RabbitMQFanout
from umbel.drivers.rabbitmq.mailbox import Mailbox
from umbel.drivers.rabbitmq.rpc import RpcBackend
from umbel.drivers.rabbitmq.topology import default_queue
from umbel.model import Exchange, Message, Queue, ResultRecord
from umbel.protocols import Broker, ResultBackend
from umbel.testing.conformance.backend import MakeBackend, RecordsContract
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.clocks import WaitingClock
from umbel.testing.conformance.dead_letters import KEPT, DeadLetterContract
from umbel.testing.conformance.fanout import FanoutContract, MakeFanout
from umbel.testing.conformance.messages import message
from umbel.testing.conformance.opening import opening
from umbel.testing.servers import RabbitMQServer

LONG = bool(os.environ.get("UMBEL_LONG_TESTS"))
_numbers = count(1)


def with_priorities(name: str) -> Queue:
    return Queue(name, max_priority=10)


class TestRabbitMQBroker(BrokerContract, DeadLetterContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    def make_queue(self) -> Callable[[str], Queue]:
        return with_priorities

    @pytest.fixture
    async def make_broker(
        self,
        clock: WaitingClock,
        rabbitmq: RabbitMQServer,
        make_queue: Callable[[str], Queue],
    ) -> AsyncIterator[MakeBroker]:
        used: list[Queue] = []

        def make_and_note(name: str) -> Queue:
            used.append(make_queue(name))
            return used[-1]

        class NotingBroker(RabbitMQBroker):
            async def declare(self, queues: Sequence[Queue]) -> None:
                used.extend(queues)
                await super().declare(queues)

        def make() -> NotingBroker:
            return NotingBroker(
                rabbitmq.url(), clock=clock, make_queue=make_and_note, keep_dead=KEPT
            )

        async with opening(make) as make_broker:
            yield make_broker
        delete(rabbitmq, used)

    @pytest.fixture
    def cut(self, rabbitmq: RabbitMQServer) -> Callable[[Broker], Awaitable[None]]:
        async def cut(broker: Broker) -> None:
            await asyncio.to_thread(rabbitmq.control, "close_all_connections", "cut by a test")

        return cut


def quorum(name: str) -> Queue:
    return Queue(name, queue_arguments={"x-queue-type": "quorum"})


@pytest.mark.skipif(not LONG, reason="takes a minute: set UMBEL_LONG_TESTS=1")
class TestRabbitMQBrokerWithQuorumQueues(TestRabbitMQBroker):
    @pytest.fixture
    def make_queue(self) -> Callable[[str], Queue]:
        return quorum

    @pytest.fixture(autouse=True)
    def no_priorities(self, request: pytest.FixtureRequest) -> None:
        if "priority" in request.node.name and "odd" not in request.node.name:
            pytest.skip("quorum queues know no priorities")


class TestRabbitMQFanout(FanoutContract):
    @pytest.fixture
    async def make_fanout(self, rabbitmq: RabbitMQServer) -> AsyncIterator[MakeFanout]:
        async with opening(lambda: RabbitMQFanout(rabbitmq.url(), clock=WaitingClock())) as make:
            yield make


class AddressingBackend(RpcBackend):
    """Sends every record to one mailbox, as if one process had asked for them all."""

    def __init__(self, url: str, mailbox: Mailbox, clock: WaitingClock) -> None:
        super().__init__(url, clock=clock, mailbox=mailbox)
        self.address = mailbox.queue.name

    async def store(self, records: Sequence[ResultRecord]) -> None:
        await super().store(
            [msgspec.structs.replace(record, reply_to=self.address) for record in records]
        )


class TestRpcBackend(RecordsContract):
    @pytest.fixture
    def clock(self) -> WaitingClock:
        return WaitingClock()

    @pytest.fixture
    async def make_backend(
        self, clock: WaitingClock, rabbitmq: RabbitMQServer
    ) -> AsyncIterator[MakeBackend]:
        made: list[AddressingBackend] = []
        mailbox = Mailbox(f"replies-{next(_numbers)}", 60.0)

        async def make() -> ResultBackend:
            backend = AddressingBackend(rabbitmq.url(), mailbox, clock)
            await backend.open()
            made.append(backend)
            # Whoever sends tasks has made the queue before.
            broker = RabbitMQBroker(rabbitmq.url(), clock=clock, replies=mailbox.queue)
            await broker.open()
            await broker.publish([message(routing_key=f"{mailbox.queue.name}-tasks")])
            await broker.purge([f"{mailbox.queue.name}-tasks"])
            await broker.close()
            return backend

        yield make
        for backend in made:
            await backend.close()
        delete(rabbitmq, [mailbox.queue, default_queue(f"{mailbox.queue.name}-tasks")])


async def test_what_nobody_hears_is_known(rabbitmq: RabbitMQServer) -> None:
    fanout = RabbitMQFanout(rabbitmq.url(), clock=WaitingClock())
    await fanout.open()
    exchange = Exchange("unheard", "fanout", durable=False)
    message = Message(id="", body=b"hello", exchange="unheard", routing_key="")
    try:
        assert await fanout.broadcast(exchange, [message, message]) == 0
        ear = Queue("ear", exchange=exchange, durable=False, exclusive=True, auto_delete=True)
        async with fanout.listen([ear]):
            assert await fanout.broadcast(exchange, [message]) is None
        assert await fanout.broadcast(exchange, [message]) == 0
    finally:
        await fanout.close()


def delete(server: RabbitMQServer, queues: Sequence[Queue]) -> None:
    """Remove queues and their exchanges, which need not exist."""
    with amqp.Connection(f"127.0.0.1:{server.port}") as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(queue.name)
            if queue.exchange is not None and queue.exchange.name:
                channel.exchange_delete(queue.exchange.name)
