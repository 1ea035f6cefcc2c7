"""Connections and producers under kombu's names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel import Exchange, Queue, Umbel
from umbel.app.connecting.messaging import Connection, Producer
from umbel.exceptions import EncodeError
from umbel.serialization import json


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("app", broker="memory://messaging", set_as_current=False) as app:
        yield app


def received(app: Umbel, queue: str) -> list[tuple[str, bytes, dict[str, object]]]:
    """What is in a queue: content type, body, headers."""

    async def receive() -> list[tuple[str, bytes, dict[str, object]]]:
        broker = await app.connections.broker()
        deliveries = await broker.receive([queue], limit=10, wait=0)
        await broker.ack(deliveries)
        return [
            (each.message.content_type, each.message.body, json.loads(each.message.headers))
            for each in deliveries
        ]

    return app.portal.call(receive)


def test_a_connection_says_where_it_leads_and_connects_to_nobody() -> None:
    app = Umbel("app", broker="redis://user:secret@nowhere.invalid:6379/0", set_as_current=False)

    with app.connection() as connection:
        assert connection.as_uri() == "redis://user:**@nowhere.invalid:6379/0"
        assert connection.as_uri(include_password=True) == app.broker_url
        assert (connection.hostname, connection.transport_cls) == ("nowhere.invalid", "redis")
        assert connection.transport.driver_type == "redis"
    assert app.connection("amqp://elsewhere//").transport.driver_type == "amqp"
    assert app.connection_for_read("memory://").transport.driver_type == "memory"


def test_what_is_published_by_hand_is_received_as_it_was(app: Umbel) -> None:
    queue = Queue("custom", Exchange("custom"), "key")
    with app.producer_or_acquire() as producer:
        producer.publish(
            {"hello": "ü"}, exchange=queue.exchange, routing_key="key", declare=[queue], retry=True
        )
        producer.publish("text", exchange="custom", routing_key="key", headers={"a": 1})
        producer.publish(b"\0", "custom", exchange="", content_type="application/x-mine")

    assert received(app, "custom") == [
        ("application/json", '{"hello":"ü"}'.encode(), {}),
        ("text/plain", b"text", {"a": 1}),
        ("application/x-mine", b"\0", {}),
    ]


def test_a_producer_of_another_connection_sends_there(app: Umbel) -> None:
    with Connection("memory://another", app=app) as connection, connection.Producer() as producer:
        producer.publish(1, "custom")

    assert received(app, "custom") == []
    with connection.app as another:
        assert [body for _, body, _ in received(another, "custom")] == [b"1"]


def test_what_cannot_be_serialized_is_not_published(app: Umbel) -> None:
    with pytest.raises(EncodeError):
        Producer(app.connection()).publish(object(), "custom")
