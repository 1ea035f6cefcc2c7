"""RabbitMQ that breaks: nothing confirmed is lost, nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket
import time

import amqp
import pytest

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.exceptions import BatchError, BrokerUnavailable, ImproperlyConfigured, QueueConflict
from umbel.model import Exchange, Queue
from umbel.testing.conformance.messages import ids, message, messages, take
from umbel.testing.servers import RabbitMQServer, rabbitmq_server

QUEUES = pytest.mark.parametrize(
    "arguments", [{}, {"x-queue-type": "quorum"}], ids=["classic", "quorum"]
)


class channel_of:  # noqa: N801 - reads as a function
    """A channel of a client that is not ours."""

    def __init__(self, server: RabbitMQServer) -> None:
        self._connection = amqp.Connection(f"127.0.0.1:{server.port}")

    def __enter__(self) -> amqp.Channel:
        self._connection.connect()
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


async def test_what_was_confirmed_survives_a_server_that_is_killed() -> None:
    with rabbitmq_server() as server:
        broker = RabbitMQBroker(server.url(), clock=SystemClock(), max_retries=0)
        await broker.open()
        confirmed: list[str] = []
        refusals: list[Exception] = []
        enough = asyncio.Event()

        async def publish() -> None:
            while True:
                batch = messages(20)
                try:
                    await broker.publish(batch)
                except BrokerUnavailable as exc:
                    refusals.append(exc)
                    return
                confirmed.extend(ids(batch))
                if len(confirmed) >= 2000:
                    enough.set()

        publishing = [asyncio.create_task(publish()) for _ in range(3)]
        held = await take(broker, 10)
        await enough.wait()
        server.kill()
        await asyncio.gather(*publishing)
        assert refusals
        with pytest.raises(BrokerUnavailable, match="is RabbitMQ running there"):
            await broker.publish(messages(1))
        assert await broker.ack(held) == held

        await asyncio.to_thread(server.start)

        found: set[str] = set()
        while set(confirmed) - found:
            taken = await broker.receive(["q"], limit=1000, wait=5)
            assert taken, f"{len(set(confirmed) - found)} confirmed messages are gone"
            found.update(ids(taken))
            await broker.ack(taken)
        await broker.close()


async def test_a_waiting_receive_finds_the_server_again_by_itself() -> None:
    with rabbitmq_server() as server:
        broker = RabbitMQBroker(server.url(), clock=SystemClock(), max_retries=None)
        await broker.open()
        await broker.publish([message("a")])
        [stale] = await take(broker, 1)
        receiving = asyncio.create_task(take(broker, 1))
        await asyncio.sleep(0.05)

        server.kill()
        await asyncio.to_thread(server.start)

        async with asyncio.timeout(30):
            [again] = await receiving
        assert (again.message.id, again.redelivered) == ("a", True)
        assert await broker.ack([stale]) == [stale]
        assert await broker.ack([again]) == []
        await broker.close()


YOUNG = 3.0
"""Seconds in which RabbitMQ, when it is killed, forgets that a queue was declared."""


async def test_a_lost_connection_gives_back_what_was_held(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.publish([message("a", routing_key=queue), message("b", routing_key=queue)])
    held = await take(broker, 2, queue)

    await asyncio.to_thread(rabbitmq.control, "close_all_connections", "a test")
    again = await take(broker, 2, queue)

    assert [(each.message.id, each.redelivered) for each in again] == [("a", True), ("b", True)]
    assert await broker.ack(held) == held
    assert await broker.nack(held) == held
    assert await broker.ack(again) == []


async def test_what_is_never_confirmed_on_one_channel_goes_over_another_next_time(
    rabbitmq: RabbitMQServer, queue: str
) -> None:
    broker = RabbitMQBroker(
        rabbitmq.url(), clock=SystemClock(), transport_options={"confirm_timeout": 0.5}
    )
    await broker.declare([Queue(queue)])
    publisher = broker._publisher
    confirmed = publisher._confirmed
    # As of a quorum queue that had no leader when it was first published to.
    publisher._confirmed = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(BrokerUnavailable, match="not confirmed"):
        await broker.publish([message("a", routing_key=queue)])
    publisher._confirmed = confirmed  # type: ignore[method-assign]

    async with asyncio.timeout(30):
        await broker.publish([message("b", routing_key=queue)])

    assert ids(await take(broker, 2, queue)) == ["a", "b"]
    await broker.close()


async def test_who_stood_still_learns_what_was_lost_before_it_goes_on(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.publish(messages(2, routing_key=queue))
    held = await take(broker, 2, queue)
    assert await broker.extend(held, lease=20) == []

    # The event loop stands still meanwhile, as in a process that is stopped.
    rabbitmq.control("close_all_connections", "a test")
    time.sleep(2.1)  # noqa: ASYNC251

    assert await broker.extend(held, lease=20) == held


async def test_thousands_that_are_given_back_are_there_at_once(
    broker: RabbitMQBroker, queue: str
) -> None:
    # One by one, RabbitMQ takes 17 seconds on a quiet machine.
    sent = messages(8000, routing_key=queue)
    await broker.publish(sent)
    held = await take(broker, len(sent), queue)
    assert await broker.ack(held[4:5]) == []
    await broker.rest()

    async with asyncio.timeout(10):
        assert await broker.nack(held[:4] + held[5:]) == []
        # RabbitMQ tells nobody when it is done.
        while (await broker.stats([queue]))[queue].ready < len(sent) - 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert ids(await take(broker, len(sent) - 1, queue)) == ids(held[:4] + held[5:])


async def test_a_queue_that_is_deleted_under_its_consumer_is_made_again(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    await broker.declare([Queue(queue, max_priority=5)])
    receiving = asyncio.create_task(take(broker, 1, queue))
    await asyncio.sleep(0.1)

    with channel_of(rabbitmq) as channel:
        channel.queue_delete(queue)
    await broker.publish([message("a", routing_key=queue)])

    async with asyncio.timeout(30):
        assert ids(await receiving) == ["a"]
    with pytest.raises(QueueConflict, match="x-max-priority"):
        await broker.declare([Queue(queue)])


async def test_a_conflict_does_not_disturb_what_is_under_way(
    broker: RabbitMQBroker, queue: str
) -> None:
    await broker.declare([Queue(queue)])
    await broker.publish([message("a", routing_key=queue)])
    held = await take(broker, 1, queue)

    with pytest.raises(QueueConflict, match="x-message-ttl"):
        await broker.declare([Queue(queue, message_ttl=5)])

    await broker.publish([message("b", routing_key=queue)])
    assert await broker.ack(held) == []
    assert ids(await take(broker, 1, queue)) == ["b"]


async def test_what_a_full_queue_rejects_is_refused_by_index(
    broker: RabbitMQBroker, queue: str
) -> None:
    await broker.declare(
        [Queue(queue, max_length=2, queue_arguments={"x-overflow": "reject-publish"})]
    )

    with pytest.raises(BatchError, match="full") as caught:
        await broker.publish(messages(5, routing_key=queue))

    assert len(caught.value.errors) == 3
    assert len(await broker.receive([queue], limit=9, wait=0)) == 2


async def test_what_amqp_cannot_carry_is_refused_by_index(
    broker: RabbitMQBroker, queue: str
) -> None:
    batch = [
        message("fine", routing_key=queue),
        message(routing_key="x" * 300),
        message(routing_key=queue, headers=b'{"big":%d}' % 10**30),
        message(routing_key=queue, headers=b'{"%b":1}' % (b"k" * 300)),
        message(routing_key=queue, headers=b"not json"),
        message("also fine", routing_key=queue),
    ]

    with pytest.raises(BatchError) as caught:
        await broker.publish(batch)

    assert list(caught.value.errors) == [1, 2, 3, 4]
    assert ids(await take(broker, 2, queue)) == ["fine", "also fine"]


async def test_an_unknown_exchange_that_vanishes_is_noticed(
    rabbitmq: RabbitMQServer, broker: RabbitMQBroker, queue: str
) -> None:
    exchange = f"{queue}-exchange"
    await broker.declare([Queue(queue, Exchange(exchange), "key")])
    await broker.publish([message("a", exchange=exchange, routing_key="key")])
    with channel_of(rabbitmq) as channel:
        channel.exchange_delete(exchange)

    with pytest.raises(BatchError) as caught:
        await broker.publish(
            [message("b", exchange=exchange, routing_key="key"), message("c", routing_key=queue)]
        )

    assert exchange in str(caught.value.errors[0])
    assert sorted(ids(await broker.receive([queue], limit=9, wait=0))) == ["a", "c"]


async def test_the_next_server_of_a_list_is_used_when_one_is_away(
    rabbitmq: RabbitMQServer, queue: str
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}//"
    broker = RabbitMQBroker(f"{away};{rabbitmq.url()}", clock=SystemClock(), max_retries=0)

    await broker.open()

    await broker.publish([message("a", routing_key=queue)])
    await broker.close()


@pytest.mark.parametrize(
    ("login", "vhost", "why"),
    [("guest:wrong", "/", "ACCESS_REFUSED"), ("guest:guest", "nowhere", "nowhere")],
)
async def test_what_cannot_work_fails_at_once_and_hides_the_password(
    rabbitmq: RabbitMQServer, login: str, vhost: str, why: str
) -> None:
    broker = RabbitMQBroker(rabbitmq.url(vhost, login=login), clock=SystemClock(), max_retries=None)

    async with asyncio.timeout(30):
        with pytest.raises(BrokerUnavailable, match=why) as caught:
            await broker.open()

    assert login.partition(":")[2] not in str(caught.value).replace("guest:", "")
    await broker.close()


async def test_a_server_that_hangs_is_noticed() -> None:
    with rabbitmq_server() as server:
        broker = RabbitMQBroker(
            server.url(),
            clock=SystemClock(),
            connect_timeout=0.5,
            max_retries=0,
            transport_options={"heartbeat": 1},
        )
        await broker.open()
        server.pause()
        try:
            async with asyncio.timeout(30):
                with pytest.raises(BrokerUnavailable, match="no sign of life"):
                    await broker.publish(messages(1))
            await broker.close()
        finally:
            server.resume()


@pytest.mark.parametrize("strategy", [None, "round-robin", "shuffle", reversed, sorted])
async def test_a_strategy_says_which_server_is_next(
    rabbitmq: RabbitMQServer, queue: str, strategy: object
) -> None:
    away = ";".join(f"amqp://guest:guest@127.0.0.1:{port}//" for port in (1, 2))
    broker = RabbitMQBroker(
        f"{away};{rabbitmq.url()}",
        clock=SystemClock(),
        max_retries=20,
        transport_options={"failover_strategy": strategy},
    )

    async with asyncio.timeout(30):
        await broker.publish([message("a", routing_key=queue)])

    assert ids(await take(broker, 1, queue)) == ["a"]
    await broker.close()


def test_a_strategy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="'alphabetical'"):
        RabbitMQBroker(
            "amqp://a;amqp://b",
            clock=SystemClock(),
            transport_options={"failover_strategy": "alphabetical"},
        )
