"""kombu's producers, consumers and rules beside ours, on the same Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu
import pytest
import redis as redis_py
from kombu.transport.virtual import Channel

from umbel.clock import SystemClock
from umbel.drivers.redis.broker import RedisBroker
from umbel.model import Binding, Exchange, Message, Queue

ENVELOPE_HEADERS = b'{"task":"t","id":"%b","eta":"2999-01-01T00:00:00+00:00","expires":null}'


@contextmanager
def kombu_channel(url: str, **options: object) -> Iterator[Channel]:
    with kombu.Connection(url, transport_options=options) as connection:
        yield connection.channel()


def message(name: str, **fields: Any) -> Message:
    return Message(id=name, body=b"[[], {}, {}]", routing_key="mail", **fields)


def drain(url: str, queue: str = "mail", **options: object) -> list[Any]:
    """Every message an ordinary kombu consumer gets, acknowledged."""
    with kombu_channel(url, **options) as channel:
        simple = kombu.Queue(queue, channel=channel)
        found = []
        while (got := simple.get()) is not None:
            found.append(got)
            got.ack()
        return found


async def test_kombu_reads_what_we_publish(broker: RedisBroker, redis_url: str) -> None:
    await broker.publish(
        [
            Message(
                id="one",
                body=b'[[2, 2], {}, {"chain": null}]',
                headers=b'{"task":"add","id":"one"}',
                correlation_id="one",
                reply_to="me",
                routing_key="mail",
                priority=4,
            )
        ]
    )

    (got,) = await asyncio.to_thread(drain, redis_url)

    assert got.payload == [[2, 2], {}, {"chain": None}]
    assert got.headers == {"task": "add", "id": "one"}
    assert got.properties["correlation_id"] == "one"
    assert got.properties["reply_to"] == "me"
    assert got.properties["priority"] == 4


async def test_we_read_what_kombu_publishes(broker: RedisBroker, redis_url: str) -> None:
    with kombu_channel(redis_url) as channel:
        producer = kombu.Producer(channel)
        producer.publish({"x": 1}, routing_key="mail", correlation_id="one", priority=5)

    (got,) = await broker.receive(["mail"], limit=10, wait=1)

    assert json.loads(got.message.body) == {"x": 1}
    assert got.message.id == "one"
    assert got.message.priority == 5
    assert (got.attempt, got.defect) == (1, None)


async def test_priorities_share_kombus_lists(broker: RedisBroker, redis_url: str) -> None:
    with kombu_channel(redis_url) as channel:
        producer = kombu.Producer(channel)
        for priority in (9, 0, 6, 3):
            producer.publish(
                "", routing_key="mail", correlation_id=f"k{priority}", priority=priority
            )
    await broker.publish([message(f"u{priority}", priority=priority) for priority in (7, 1, 5)])

    got = await broker.receive(["mail"], limit=10, wait=1)

    assert [each.message.id for each in got] == ["k0", "u1", "k3", "u5", "k6", "u7", "k9"]


async def test_kombu_routes_by_the_bindings_we_declare(broker: RedisBroker, redis_url: str) -> None:
    await broker.declare(
        [
            Queue("news", exchange=Exchange("topics", type="topic"), routing_key="news.*.uk.#"),
            Queue(
                "mail",
                exchange=Exchange("direct"),
                routing_key="letters",
                bindings=(Binding(Exchange("direct"), "parcels"),),
            ),
        ]
    )

    with kombu_channel(redis_url) as channel:
        topics = kombu.Exchange("topics", type="topic", channel=channel)
        topics.declare()
        direct = kombu.Exchange("direct", channel=channel)
        direct.declare()
        producer = kombu.Producer(channel)
        producer.publish("", exchange=topics, routing_key="news.a.uk.b", correlation_id="t")
        producer.publish("", exchange=direct, routing_key="parcels", correlation_id="d")
        producer.publish("", exchange=direct, routing_key="letters", correlation_id="e")
    got = await broker.receive(["news", "mail"], limit=10, wait=1)

    assert [each.message.id for each in got] == ["t", "d", "e"]


async def test_we_route_by_the_bindings_kombu_declares(broker: RedisBroker, redis_url: str) -> None:
    with kombu_channel(redis_url) as channel:
        topics = kombu.Exchange("topics", type="topic")
        kombu.Queue("news", topics, routing_key="news.#", channel=channel).declare()
        kombu.Queue("all", topics, routing_key="*.*", channel=channel).declare()

    await broker.publish(
        [
            Message(id="a", body=b"", exchange="topics", routing_key="news.x.y"),
            Message(id="b", body=b"", exchange="topics", routing_key="news.x"),
        ]
    )
    news = await broker.receive(["news"], limit=10, wait=1)
    everything = await broker.receive(["all"], limit=10, wait=1)

    assert [each.message.id for each in news] == ["a", "b"]
    assert [each.message.id for each in everything] == ["b"]


async def test_binding_sets_are_the_ones_kombu_writes(
    broker: RedisBroker, redis_url: str, server: redis_py.Redis
) -> None:
    def declare_with_kombu() -> set[bytes]:
        with kombu_channel(redis_url) as channel:
            topic = kombu.Exchange("e", type="topic")
            kombu.Queue("q", topic, routing_key="a.*.c.#", channel=channel).declare()
            direct = kombu.Exchange("d")
            kombu.Queue("q2", direct, routing_key="k", channel=channel).declare()
        return members()

    def members() -> set[bytes]:
        keys = sorted(server.keys("_kombu.binding*"))
        return {key + b" " + member for key in keys for member in server.smembers(key)}

    theirs = await asyncio.to_thread(declare_with_kombu)
    server.flushdb()
    await broker.declare(
        [
            Queue("q", exchange=Exchange("e", type="topic"), routing_key="a.*.c.#"),
            Queue("q2", exchange=Exchange("d"), routing_key="k"),
        ]
    )

    assert members() == theirs


def restore_like_a_celery_worker(url: str, **options: object) -> None:
    """One sweep of kombu's over everything that is older than the visibility timeout."""
    with kombu_channel(url, **options) as channel:
        channel.qos.restore_visible(start=0, num=100)


async def test_kombu_restores_nothing_that_we_hold(
    broker: RedisBroker, redis_url: str, server: redis_py.Redis
) -> None:
    await broker.publish([message("held"), message("parked", not_before=time.time() + 60)])
    held = await broker.receive(["mail"], limit=10, wait=1)

    await asyncio.to_thread(restore_like_a_celery_worker, redis_url, visibility_timeout=0)

    assert server.llen("mail") == 0
    assert (await broker.stats(["mail"]))["mail"].delayed == 1
    assert await broker.ack(held) == []
    assert len(held) == 1


async def test_kombu_restores_what_we_leave_when_no_umbel_worker_is_left(
    redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    gone = RedisBroker(redis_url, clock=system_clock, lease=0.01)
    await gone.publish(
        [message("leased", priority=6), message("parked", not_before=time.time() + 0.05)]
    )
    assert len(await gone.receive(["mail"], limit=1, wait=1)) == 1
    wait_until(lambda: min_deadline_passed(server))

    await asyncio.to_thread(restore_like_a_celery_worker, redis_url, visibility_timeout=0)
    found = await asyncio.to_thread(drain, redis_url)

    assert sorted(each.properties["correlation_id"] for each in found) == ["leased", "parked"]
    assert all(each.headers["redelivered"] for each in found)
    await gone.close()


def wait_until(claim: Any) -> None:
    deadline = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def min_deadline_passed(server: redis_py.Redis) -> bool:
    now = server.time()[0] + server.time()[1] / 1e6
    return all(
        score < now - 0.01 for _, score in server.zrange("unacked_index", 0, -1, withscores=True)
    )


async def test_what_kombu_gives_back_counts_as_redelivered(
    broker: RedisBroker, redis_url: str
) -> None:
    await broker.publish([message("one")])

    def refuse() -> None:
        with kombu_channel(redis_url) as channel:
            got = kombu.Queue("mail", channel=channel).get()
            assert got is not None
            got.requeue()

    await asyncio.to_thread(refuse)
    (got,) = await broker.receive(["mail"], limit=10, wait=1)

    assert got.redelivered
    assert got.message.id == "one"


async def test_kombu_passes_over_our_mark(broker: RedisBroker, redis_url: str) -> None:
    await broker.publish([message("one")])
    await broker.nack(await broker.receive(["mail"], limit=1, wait=1))
    await broker.nack(await broker.receive(["mail"], limit=1, wait=1))

    (got,) = await asyncio.to_thread(drain, redis_url)

    assert got.properties["correlation_id"] == "one"


async def test_the_count_of_attempts_survives_a_celery_worker(
    broker: RedisBroker, redis_url: str
) -> None:
    await broker.publish([message("one")])
    for _ in range(3):
        await broker.nack(await broker.receive(["mail"], limit=1, wait=1), counts=True)

    def refuse() -> None:
        with kombu_channel(redis_url) as channel:
            got = kombu.Queue("mail", channel=channel).get()
            assert got is not None
            got.requeue()

    await asyncio.to_thread(refuse)
    (got,) = await broker.receive(["mail"], limit=1, wait=1)

    assert (got.attempt, got.defect, got.message.id) == (4, None, "one")


async def test_we_restore_what_celerys_workers_left(
    redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    with kombu_channel(redis_url) as channel:
        kombu.Producer(channel).publish([1], routing_key="mail", correlation_id="left", priority=3)
        # Taken as a worker takes it, and never acknowledged: the worker was killed.
        assert kombu.Queue("mail", channel=channel).get() is not None
        channel.qos.restore_at_shutdown = False
    assert server.hlen("unacked") == 1
    ours = RedisBroker(redis_url, clock=system_clock, transport_options={"visibility_timeout": 0})

    (got,) = await ours.receive(["mail"], limit=10, wait=2)

    assert (got.message.id, got.attempt) == ("left", 2)
    assert got.message.priority == 3
    assert await ours.ack([got]) == []
    await ours.close()


async def test_a_delayed_message_waits_in_the_list_while_only_celery_could_be_there(
    broker: RedisBroker, redis_url: str, server: redis_py.Redis
) -> None:
    headers = ENVELOPE_HEADERS % b"later"
    await broker.publish([message("later", headers=headers, not_before=32_472_144_000.0)])

    (got,) = await asyncio.to_thread(drain, redis_url)

    assert got.headers["eta"] == "2999-01-01T00:00:00+00:00"


async def test_a_delayed_message_is_parked_while_an_umbel_worker_consumes(
    broker: RedisBroker, server: redis_py.Redis
) -> None:
    await broker.receive(["mail"], limit=1, wait=0)
    headers = ENVELOPE_HEADERS % b"later"
    await broker.publish([message("later", headers=headers, not_before=32_472_144_000.0)])

    assert server.llen("mail") == 0
    assert (await broker.stats(["mail"]))["mail"].delayed == 1
    assert await broker.receive(["mail"], limit=1, wait=0) == []


@pytest.mark.parametrize("prefix", ["", "house:"])
async def test_a_global_prefix_is_kombus(
    prefix: str, redis_url: str, system_clock: SystemClock
) -> None:
    ours = RedisBroker(
        redis_url, clock=system_clock, transport_options={"global_keyprefix": prefix}
    )
    await ours.publish([message("one", priority=9)])

    (got,) = await asyncio.to_thread(drain, redis_url, global_keyprefix=prefix)

    assert got.properties["correlation_id"] == "one"
    await ours.close()
