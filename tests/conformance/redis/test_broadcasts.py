"""Fanout exchanges on Redis: kombu's consumers and ours hear what either side says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from umbel.clock import SystemClock
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BatchError
from umbel.model import Exchange, Message, Queue
from umbel.testing.servers import redis_server

NEWS = Exchange("news", "fanout")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"global_keyprefix": "shop:"},
    {"fanout_prefix": "/mine."},
    {"fanout_prefix": False, "fanout_patterns": False},
]


def fanout(name: str) -> str | None:
    return "fanout" if name == "news" else None


def broker_of(url: str, options: dict[str, Any] | None = None) -> RedisBroker:
    return RedisBroker(
        url, clock=SystemClock(), transport_options=options or {}, exchange_type=fanout
    )


def message(name: str, routing_key: str = "news") -> Message:
    return Message(id=name, body=b"[]", exchange="news", routing_key=routing_key)


def queue(name: str, routing_key: str = "news") -> Queue:
    return Queue(name, NEWS, routing_key, auto_delete=True)


@pytest.fixture(params=OPTIONS, ids=str)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture
def theirs(redis_url: str, options: dict[str, Any]) -> Iterator[kombu.Connection]:
    with kombu.Connection(redis_url, transport_options=options) as connection:
        yield connection


def kombu_queue(name: str, routing_key: str = "news") -> kombu.Queue:
    return kombu.Queue(
        name, kombu.Exchange("news", "fanout"), routing_key=routing_key, auto_delete=True
    )


async def test_kombus_consumers_hear_what_we_say(
    redis_url: str, options: dict[str, Any], theirs: kombu.Connection
) -> None:
    broker = broker_of(redis_url, options)
    heard: list[str] = []

    def consume() -> None:
        with theirs.Consumer(
            kombu_queue("k"),
            callbacks=[lambda _, got: (heard.append(got.properties["correlation_id"]), got.ack())],
            accept=["json"],
        ):
            deadline = time.monotonic() + 60
            while not heard and time.monotonic() < deadline:
                try:
                    theirs.drain_events(timeout=0.1)
                except TimeoutError:
                    pass

    consuming = asyncio.create_task(asyncio.to_thread(consume))
    while True:
        try:
            await broker.publish([message("a")])
        except BatchError:
            # Nobody listens yet.
            await asyncio.sleep(0.01)
        else:
            break
    await consuming

    assert heard == ["a"]
    await broker.close()


async def test_we_hear_what_kombus_producers_say(
    redis_url: str, options: dict[str, Any], theirs: kombu.Connection
) -> None:
    broker = broker_of(redis_url, options)
    await broker.declare([queue("mine")])

    with theirs.Producer() as producer:
        producer.publish(
            [1],
            exchange=kombu.Exchange("news", "fanout"),
            routing_key="news",
            declare=[kombu.Exchange("news", "fanout")],
            correlation_id="a",
            headers={"id": "a"},
        )
    got = await broker.receive(["mine"], limit=10, wait=10)

    assert [(each.message.id, each.queue) for each in got] == [("a", "mine")]
    assert await broker.extend(got, lease=10) == []
    assert await broker.ack(got) == []
    assert await broker.ack(got) == got
    await broker.close()


@pytest.mark.parametrize(
    ("bound_by", "heard"),
    [("web.*", ["web.a", "web.b.c"]), ("#", ["db.a", "web.a", "web.b.c"]), ("db.a", ["db.a"])],
)
async def test_routing_keys_are_patterns_as_on_kombus_channels(
    redis_url: str, bound_by: str, heard: list[str]
) -> None:
    speaker, listener = broker_of(redis_url), broker_of(redis_url)
    await listener.declare([queue("l", bound_by), queue("end", "end")])

    for key in ("web.a", "web.b.c", "db.a", "end"):
        try:
            await speaker.publish([message(key, key)])
        except BatchError as error:
            assert "no queue bound" in str(error)  # noqa: PT017 - some keys nobody listens to
    keys: list[str] = []
    while "end" not in keys:
        got = await listener.receive(["l", "end"], limit=10, wait=10)
        keys += [each.message.routing_key for each in got]

    assert sorted({*keys} - {"end"}) == heard
    await speaker.close()
    await listener.close()


async def test_what_is_said_and_what_waits_in_lists_are_received_together(redis_url: str) -> None:
    broker = broker_of(redis_url)
    await broker.declare([queue("loud")])
    await broker.publish([message("said"), Message(id="kept", body=b"[]", routing_key="quiet")])

    got: list[str] = []
    while len(got) < 2:
        deliveries = await broker.receive(["loud", "quiet"], limit=10, wait=10)
        got += [each.message.id for each in deliveries]
        assert await broker.ack(deliveries) == []

    assert sorted(got) == ["kept", "said"]
    await broker.close()


async def test_a_receive_that_sleeps_wakes_when_something_is_said(redis_url: str) -> None:
    broker, speaker = broker_of(redis_url), broker_of(redis_url)
    await broker.declare([queue("loud")])
    receiving = asyncio.create_task(broker.receive(["loud"], limit=10, wait=30))
    await asyncio.sleep(0)
    await speaker.publish([message("a")])

    async with asyncio.timeout(30):
        assert [each.message.id for each in await receiving] == ["a"]
    await broker.close()
    await speaker.close()


@pytest.mark.parametrize(("delay", "counts"), [(0.0, False), (0.05, True)])
async def test_what_was_heard_can_be_given_back_to_oneself(
    redis_url: str, delay: float, counts: bool
) -> None:
    broker = broker_of(redis_url)
    await broker.declare([queue("loud")])
    await broker.publish([message("a")])
    got = await broker.receive(["loud"], limit=10, wait=10)

    assert await broker.begin(got) == []
    assert await broker.nack(got, delay=delay, counts=counts) == []
    again = await broker.receive(["loud"], limit=10, wait=10)

    assert [(each.message.id, each.attempt) for each in again] == [("a", 1 + counts)]
    assert await broker.nack(again, requeue=False) == []
    assert await broker.receive(["loud"], limit=10, wait=0) == []
    await broker.close()


async def test_a_queue_that_outlives_its_consumers_is_heard_from_the_first_receive(
    redis_url: str,
) -> None:
    broker = broker_of(redis_url)
    await broker.declare([Queue("lasting", NEWS, "news")])
    with pytest.raises(BatchError, match="no queue bound"):
        await broker.publish([message("early")])

    assert await broker.receive(["lasting"], limit=10, wait=0) == []
    await broker.publish([message("late")])

    got = await broker.receive(["lasting"], limit=10, wait=10)
    assert [each.message.id for each in got] == ["late"]
    await broker.close()


async def test_unreadable_broadcasts_are_handed_out_as_such(redis_url: str) -> None:
    broker = broker_of(redis_url)
    await broker.declare([queue("loud")])
    with kombu.Connection(redis_url) as theirs:
        theirs.default_channel.client.publish(
            f"/{redis_url.rpartition('/')[2]}.news/news", b"garbage"
        )

    (got,) = await broker.receive(["loud"], limit=10, wait=10)

    assert got.defect is not None
    assert got.message.body == b"garbage"
    await broker.close()


async def test_broadcasts_are_heard_again_after_redis_was_away() -> None:
    with redis_server() as server:
        broker = broker_of(server.url())
        await broker.declare([queue("loud")])
        server.kill()
        await asyncio.to_thread(server.start)
        speaker = broker_of(server.url())

        async with asyncio.timeout(30):
            while True:
                try:
                    await speaker.publish([message("a")])
                except BatchError:
                    # Not listened to again yet.
                    await asyncio.sleep(0.05)
                else:
                    break
            got = await broker.receive(["loud"], limit=10, wait=10)

        assert [each.message.id for each in got] == ["a"]
        await broker.close()
        await speaker.close()


async def test_a_queue_that_goes_with_its_consumer_leaves_nothing_behind(redis_url: str) -> None:
    broker, other = broker_of(redis_url), RedisBroker(redis_url, clock=SystemClock())
    await broker.declare([queue("loud")])
    # It does not know that the exchange is a fanout one, like most of Celery's clients.
    await other.publish([message("a")])
    got = await broker.receive(["loud"], limit=10, wait=10)
    await other.publish([message("b")])

    await broker.close()

    assert [each.message.id for each in got] == ["a"]
    with kombu.Connection(redis_url) as theirs:
        keys = theirs.default_channel.client.keys("*")
    assert [key for key in keys if b"loud" in key or b"binding" in key] == []
    await other.close()
