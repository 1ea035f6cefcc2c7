"""Results as messages: what is particular to ``rpc://``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import amqp
import pytest

from umbel import Umbel
from umbel.clock import SystemClock
from umbel.drivers.rabbitmq.mailbox import Mailbox
from umbel.drivers.rabbitmq.rpc import RpcBackend
from umbel.exceptions import BackendUnavailable, ImproperlyConfigured
from umbel.model import GroupRecord, ResultRecord
from umbel.testing.conformance.backend import record, watch_for
from umbel.testing.conformance.chords import arrivals
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RabbitMQServer

_names = count(1)


@pytest.fixture
def mailbox(rabbitmq: RabbitMQServer) -> Iterator[Mailbox]:
    made = Mailbox(f"mailbox-{next(_names)}", 60.0)
    yield made
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
        connection.channel().queue_delete(made.queue.name)


@pytest.fixture
async def worker(rabbitmq: RabbitMQServer, mailbox: Mailbox) -> AsyncIterator[RpcBackend]:
    """Sends results, and has a mailbox of its own that nobody writes to."""
    backend = RpcBackend(rabbitmq.url(), clock=SystemClock(), mailbox=Mailbox("nobody", 60.0))
    await backend.open()
    yield backend
    await backend.close()


def addressed(id: str, mailbox: Mailbox, state: str = "SUCCESS") -> ResultRecord:
    plain = record(id, state)
    return ResultRecord(
        id=id,
        state=state,
        body=plain.body,
        reply_to=mailbox.queue.name,
        correlation_id=id,
    )


async def test_results_that_come_while_the_connection_is_lost_are_not(
    rabbitmq: RabbitMQServer, worker: RpcBackend, mailbox: Mailbox
) -> None:
    with Proxy(rabbitmq.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        client = RpcBackend(url, clock=SystemClock(), mailbox=mailbox)
        await client.open()
        async with client.watch(["a", "b", "c"]) as changes:
            await worker.store([addressed("a", mailbox)])
            await watch_for(changes, {"a": "SUCCESS"})

            proxy.refuse()
            proxy.cut()
            await worker.store([addressed("b", mailbox)])
            proxy.heal()

            await watch_for(changes, {"b": "SUCCESS"})
            await worker.store([addressed("c", mailbox)])
            await watch_for(changes, {"c": "SUCCESS"})
        await client.close()


async def test_a_queue_that_is_deleted_under_who_waits_is_made_again(
    rabbitmq: RabbitMQServer, worker: RpcBackend, mailbox: Mailbox
) -> None:
    client = RpcBackend(rabbitmq.url(), clock=SystemClock(), mailbox=mailbox)
    await client.open()
    async with client.watch(["a"]) as changes:
        with amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection:
            connection.channel().queue_delete(mailbox.queue.name)
        async with asyncio.timeout(30):
            while not (await client.load(["a"])):
                await worker.store([addressed("a", mailbox)])
        await watch_for(changes, {"a": "SUCCESS"})
    await client.close()


async def test_what_nobody_waits_for_is_dropped(worker: RpcBackend) -> None:
    await worker.store([addressed("a", Mailbox("no-such-queue", None)), record("b")])

    assert await worker.load(["a", "b"]) == {}


async def test_a_closed_client_takes_its_queue_along(
    rabbitmq: RabbitMQServer, worker: RpcBackend, mailbox: Mailbox
) -> None:
    client = RpcBackend(rabbitmq.url(), clock=SystemClock(), mailbox=mailbox)
    other = RpcBackend(rabbitmq.url(), clock=SystemClock(), mailbox=mailbox)
    for each in (client, other):
        await each.open()
        assert await each.load(["a"]) == {}
    await client.close()
    await worker.store([addressed("a", mailbox)])

    assert set(await other.load(["a"])) == {"a"}
    await other.close()

    with (
        amqp.Connection(f"127.0.0.1:{rabbitmq.port}") as connection,
        pytest.raises(amqp.NotFound),
    ):
        connection.channel().queue_declare(mailbox.queue.name, passive=True)


async def test_who_waits_at_a_closed_backend_is_told(
    rabbitmq: RabbitMQServer, mailbox: Mailbox
) -> None:
    client = RpcBackend(rabbitmq.url(), clock=SystemClock(), mailbox=mailbox)
    await client.open()
    async with client.watch(["a"]) as changes:
        waiting = asyncio.create_task(watch_for(changes, {"a": "SUCCESS"}))
        await client.close()

        with pytest.raises(BackendUnavailable, match="closed"):
            await waiting


async def test_chords_and_groups_are_refused_in_the_words_people_know(worker: RpcBackend) -> None:
    with pytest.raises(NotImplementedError, match='The "rpc" result backend does not support chor'):
        await worker.arrive(arrivals("c", 2))
    with pytest.raises(NotImplementedError, match="save_group is not supported"):
        await worker.store_groups([GroupRecord(id="g", body=b"{}")])


async def test_a_mailbox_keeps_what_came_last() -> None:
    mailbox = Mailbox("bounded", None, most=3)

    mailbox.put([record(str(number)) for number in range(5)])

    assert set(mailbox.find([str(number) for number in range(5)], 0.0)) == {"2", "3", "4"}


def test_rpc_without_rabbitmq_says_what_it_needs() -> None:
    app = Umbel("shop", broker="redis://localhost:6379/0", backend="rpc://", set_as_current=False)

    with pytest.raises(ImproperlyConfigured, match="needs RabbitMQ"):
        app.make_backend()
