"""Deaths of those who hold a message are counted, and there is one of it whenever they die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import amqp
import pytest

from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.broker import RabbitMQBroker
from umbel.exceptions import BatchError, BrokerUnavailable
from umbel.model import Delivery, Message, Queue
from umbel.testing.conformance.messages import PATIENCE, message, take, until
from umbel.testing.proxy import Direction, Proxy
from umbel.testing.servers import RabbitMQServer, rabbitmq_server

QUEUES = pytest.mark.parametrize(
    "arguments", [{}, {"x-queue-type": "quorum"}], ids=["classic", "quorum"]
)
BOOK = "umbel.deaths"
Connect = Callable[..., RabbitMQBroker]


@pytest.fixture
async def connect(rabbitmq: RabbitMQServer) -> AsyncIterator[Connect]:
    """Makes brokers, of the private RabbitMQ or what stands before it; closes them all."""
    made: list[RabbitMQBroker] = []

    def connect(port: int | None = None, *, max_retries: int | None = None) -> RabbitMQBroker:
        url = f"amqp://guest:guest@127.0.0.1:{port or rabbitmq.port}//"
        made.append(RabbitMQBroker(url, clock=SystemClock(), max_retries=max_retries))
        return made[-1]

    yield connect
    for broker in made:
        async with asyncio.timeout(PATIENCE):
            await broker.close()


async def start_again(broker: RabbitMQBroker, queue: str, *names: str) -> list[Delivery]:
    """Messages that were given back once, and are run: their holders' deaths are counted."""
    await broker.publish([message(name, routing_key=queue) for name in names])
    await broker.nack(await take(broker, len(names), queue))
    mine = await take(broker, len(names), queue)
    assert await broker.start(mine) == []
    return mine


async def die(broker: RabbitMQBroker, proxy: Proxy) -> None:
    """Be gone without a word."""
    # First the port, then the wires.
    proxy.refuse()
    proxy.cut()
    await broker.close()


@pytest.mark.slow
@QUEUES
async def test_a_death_is_counted_that_a_server_was_killed_after(arguments: dict[str, str]) -> None:
    with rabbitmq_server() as server:
        other = RabbitMQBroker(server.url(), clock=SystemClock(), max_retries=None)
        await other.declare([Queue("q", queue_arguments=arguments)])
        await other.ack(await start_again(other, "q", "makes queues"))
        await other.rest()
        await asyncio.sleep(3.0)  # A RabbitMQ that is killed forgets queues that are younger.
        with Proxy(server.port) as proxy:
            url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
            broker = RabbitMQBroker(url, clock=SystemClock(), max_retries=0)
            await start_again(broker, "q", "started")
            await die(broker, proxy)
        # With it, it is written that the others were acknowledged.
        await other.publish([message("sent")])

        server.kill()
        await asyncio.to_thread(server.start)

        found: dict[str, int] = {}
        async with asyncio.timeout(PATIENCE):
            while found.keys() != {"sent", "started"}:
                for each in await other.receive(["q"], limit=9, wait=5):
                    found[each.message.id] = each.attempt
        assert found == {"sent": 1, "started": 3}
        await other.close()


async def test_who_has_lost_the_connection_and_lives_is_not_counted(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy:
        broker = connect(proxy.port)
        mine = await start_again(broker, queue, "a")
        for _ in range(4):
            proxy.cut()

            again = await take(broker, 1, queue)

            assert [(each.message.id, each.attempt) for each in again] == [("a", 1)]
            assert await broker.ack(mine) == mine
            assert await broker.start(again) == []
            mine = again
        await broker.close()


async def test_who_lives_says_so_to_whoever_has_it_next(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy, Proxy(rabbitmq.port) as proxy_of_other:
        broker, other = connect(proxy.port), connect(proxy_of_other.port)
        await start_again(broker, queue, "a")
        proxy.refuse()
        proxy.cut()
        [as_of_a_dead_one] = await take(other, 1, queue)
        proxy.heal()
        # Connected again, it has said so.
        await broker.receive([f"{queue}-other"], limit=1, wait=0)

        await other.nack([as_of_a_dead_one])
        async with asyncio.timeout(PATIENCE):
            while (await take(other, 1, queue))[0].attempt != 1:
                await other.rest()
                proxy_of_other.cut()

        assert as_of_a_dead_one.attempt == 3


async def test_who_lost_a_message_does_not_speak_for_who_has_it_now(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    with Proxy(rabbitmq.port) as proxy, Proxy(rabbitmq.port) as proxy_of_other:
        broker = connect(proxy.port)
        other = connect(proxy_of_other.port, max_retries=0)
        mine = await start_again(broker, queue, "a")
        proxy.cut()
        proxy.refuse()
        theirs = await take(other, 1, queue)
        assert await other.start(theirs) == []
        proxy.heal()
        await broker.receive([f"{queue}-other"], limit=1, wait=0)

        assert await broker.ack(mine) == mine
        assert await broker.nack(mine, requeue=False) == mine
        await die(other, proxy_of_other)

        assert [each.attempt for each in await take(broker, 1, queue)] == [2]


async def test_a_death_counts_of_who_starts_what_was_published_anew(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    broker, other = connect(), connect()
    with Proxy(rabbitmq.port) as proxy:
        doomed = connect(proxy.port, max_retries=0)
        mine = await start_again(broker, queue, "a")
        await broker.rest()
        taking = asyncio.create_task(take(doomed, 1, queue))
        publish = broker._publisher.publish

        async def publish_and_be_late(messages: Sequence[Message]) -> None:
            await publish(messages)
            assert await doomed.start(await taking) == []

        broker._publisher.publish = publish_and_be_late  # type: ignore[method-assign]
        assert await broker.nack(mine, delay=1.0, counts=True) == []
        await die(doomed, proxy)

    assert [each.attempt for each in await take(other, 1, queue)] == [4]


async def test_a_message_that_goes_round_among_the_living_is_not_given_up(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    brokers = [connect(), connect()]
    await start_again(brokers[0], queue, "a")
    for _ in range(8):
        # As when RabbitMQ is restarted.
        await asyncio.to_thread(rabbitmq.control, "close_all_connections", "a test")
        received: list[Delivery] = []
        async with asyncio.timeout(PATIENCE):
            while not received:
                for broker in brokers:
                    with suppress(BrokerUnavailable):
                        received += await broker.receive([queue], limit=1, wait=0.05)
                        await broker.start(received)
                brokers.reverse()

        # Some too many, while the other one has not said yet that it lives.
        assert [each.attempt for each in received] in ([1], [2], [3])


@pytest.mark.parametrize("counts", [False, True], ids=["starts", "counts"])
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_whenever_one_dies_that_takes_over_from_the_dead_there_is_one_message(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str, direction: Direction, counts: bool
) -> None:
    other = connect()
    await other.declare([Queue(queue)])

    async def take_over(after: int | None) -> int:
        """As one that dies when that many bytes have passed; how many passed."""
        await other.publish([message(routing_key=queue)])
        await other.nack(await take(other, 1, queue))
        await other.rest()
        with Proxy(rabbitmq.port) as proxy:
            broker = connect(proxy.port, max_retries=0)
            await broker.open()
            before = proxy.passed[direction]
            if after is not None:
                proxy.cut_after(after, direction)
            with suppress(BrokerUnavailable, BatchError):
                mine = await broker.receive([queue], limit=1, wait=0.3)
                await broker.start(mine)
                if counts:
                    # Its process has died.
                    await broker.nack(mine, counts=True)
            passed = proxy.passed[direction] - before
            await die(broker, proxy)
        return passed

    passed = await take_over(None)
    await other.ack(await take(other, 1, queue))
    assert passed > 500
    for after in range(1, passed + 1, passed // 25):
        await take_over(after)

        [again] = await take(other, 1, queue)
        assert again.attempt in {1, 3}
        assert await other.ack([again]) == []
        assert await other.receive([queue], limit=1, wait=0) == []


async def test_many_that_come_at_once_all_know_who_has_died(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    names = [f"{queue}-{number}" for number in range(8)]
    with Proxy(rabbitmq.port) as proxy:
        broker = connect(proxy.port, max_retries=0)
        await start_again(broker, queue, *names)
        await die(broker, proxy)

    brokers = [connect() for _ in names]
    found = await asyncio.gather(*(take(broker, 1, queue) for broker in brokers))

    assert sorted((each.message.id, each.attempt) for [each] in found) == [
        (name, 3) for name in names
    ]


async def test_what_is_over_is_forgotten(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    def size_of_book() -> int:
        with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
            return int(connection.channel().queue_declare(BOOK, passive=True).message_count)

    rabbitmq.control("purge_queue", BOOK)
    with Proxy(rabbitmq.port) as proxy:
        broker = connect(proxy.port, max_retries=0)
        for name in ("a", "b", "c"):
            started = await start_again(broker, queue, name)
            await broker.ack(started)
        await start_again(broker, queue, "d")
        await die(broker, proxy)
    assert size_of_book() > 3

    assert [each.attempt for each in await take(connect(), 1, queue)] == [3]

    await until(lambda: size_of_book() == 1)


async def test_a_book_that_is_deleted_or_damaged_costs_no_message(
    rabbitmq: RabbitMQServer, connect: Connect, queue: str
) -> None:
    broker = connect()
    await broker.ack(await start_again(broker, queue, "a"))
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
        channel = connection.channel()
        channel.queue_delete(BOOK)
        channel.exchange_delete(BOOK)
    await broker.ack(await start_again(broker, queue, "b"))
    await broker.rest()
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
        for body in (b"", b"\xc1", b"\x90", b"\x94\x01\x02\x03\x04", b"{}"):
            connection.channel().basic_publish_confirm(amqp.Message(body), BOOK, "")
    with Proxy(rabbitmq.port) as proxy:
        doomed = connect(proxy.port, max_retries=0)
        await start_again(doomed, queue, "c")
        await die(doomed, proxy)

    assert [each.attempt for each in await take(connect(), 1, queue)] == [3]


async def test_a_lost_connection_is_nobodys_death(rabbitmq: RabbitMQServer, queue: str) -> None:
    with Proxy(rabbitmq.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        broker = RabbitMQBroker(url, clock=SystemClock(), max_retries=None)
        await broker.publish([message(name, routing_key=queue) for name in ("a", "b")])
        await take(broker, 1, queue)
        for _ in range(4):
            proxy.cut()
            [again] = await take(broker, 1, queue)
            assert (again.message.id, again.redelivered, again.attempt) == ("a", True, 1)
            assert await broker.start([again]) == []
        await broker.close()


async def test_who_may_not_say_it_runs_messages_all_the_same(
    rabbitmq: RabbitMQServer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    rabbitmq.control("add_user", "joe", "joe")
    rabbitmq.control("set_permissions", "-p", "/", "joe", "^(queue|umbel.lost)", ".*", ".*")
    broker = RabbitMQBroker(rabbitmq.url(login="joe:joe"), clock=SystemClock(), max_retries=0)

    mine = await start_again(broker, queue, "a")

    assert await broker.ack(mine) == []
    assert "is not counted" in caplog.text
    assert "rights to configure, write and read what begins with 'umbel.'" in caplog.text
    await broker.close()
    rabbitmq.control("delete_user", "joe")


@QUEUES
async def test_deaths_of_processes_count_each(
    connect: Connect, queue: str, arguments: dict[str, str]
) -> None:
    brokers = [connect(), connect()]
    await brokers[0].declare([Queue(queue, queue_arguments=arguments)])
    await brokers[0].publish([message("a", routing_key=queue), message("b", routing_key=queue)])
    for attempt in range(1, 5):
        broker = brokers[attempt % 2]
        mine = sorted(await take(broker, 2, queue), key=lambda each: each.message.id)
        assert [each.attempt for each in mine] == [attempt, 1]
        assert await broker.start([each for each in mine if each.redelivered]) == []
        await broker.rest()
        assert await broker.nack(mine[:1], counts=True) == []
        assert await broker.nack(mine[1:]) == []


@QUEUES
async def test_deaths_of_those_who_started_count_and_what_ends_in_order_does_not(
    rabbitmq: RabbitMQServer, queue: str, arguments: dict[str, str]
) -> None:
    seen: list[tuple[int, bool]] = []
    for end in ("nack", "nack", "dies", "started", "dies", "delayed", "closes", "started", "nack"):
        with Proxy(rabbitmq.port) as proxy:
            url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
            broker = RabbitMQBroker(url, clock=SystemClock(), max_retries=0)
            if not seen:
                await broker.declare([Queue(queue, queue_arguments=arguments)])
                await broker.publish([message("a", routing_key=queue)])
            [mine] = await take(broker, 1, queue)
            assert (mine.message.id, mine.message.body) == ("a", message("a").body)
            seen.append((mine.attempt, mine.redelivered))
            if end in {"started", "closes"}:
                assert await broker.start([mine]) == []
                assert await broker.start([mine]) == []
                assert (await broker.stats([queue]))[queue].leased == 1
            if end in {"nack", "delayed"}:
                assert await broker.nack([mine], delay=1.0 * (end == "delayed")) == []
            if end in {"dies", "started"}:
                # First the port, then the wires: nobody says goodbye.
                proxy.refuse()
                proxy.cut()
            await broker.close()

    # Who starts it after an unclear end counts for two; who has not started it, for none.
    assert seen == [
        *[(1, False), (1, True), (1, True), (1, True), (3, True), (3, True), (3, True)],
        *[(3, True), (4, True)],
    ]


@QUEUES
async def test_what_was_started_again_is_settled_as_ever(
    broker: RabbitMQBroker, queue: str, arguments: dict[str, str]
) -> None:
    await broker.declare([Queue(queue, queue_arguments=arguments)])
    await broker.publish([message(name, routing_key=queue) for name in ("a", "b", "c")])
    await broker.nack(await take(broker, 3, queue))
    again = await take(broker, 3, queue)
    assert await broker.start(again) == []

    assert await broker.ack(again[:1]) == []
    assert await broker.ack(again[:1]) == again[:1]
    assert await broker.nack(again[1:2], counts=True) == []
    assert await broker.nack(again[2:], requeue=False, reason="no more") == []

    [last] = await take(broker, 1, queue)
    # Who had it before may have died, too.
    assert (last.message.id, last.attempt) == (again[1].message.id, 3)
    assert await broker.ack([last]) == []
    [letter] = await broker.dead_letters.latest(limit=1)
    assert (letter.message.id, letter.reason) == (again[2].message.id, "no more")
