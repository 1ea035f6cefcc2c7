"""Queues and exchanges as kombu's are made and used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Exchange, Queue, Umbel
from umbel.exceptions import NotBoundError
from umbel.model import Binding


@pytest.fixture
def connection() -> Iterator[Any]:
    with Umbel("queues", broker="memory://own-queues", set_as_current=False) as app:
        yield app.connection()


def test_arguments_stand_where_kombu_has_them() -> None:
    topic = Exchange("logs", "topic", None, delivery_mode="transient")
    queue = Queue("all", topic, "#", None, [Binding(topic, "a.*")], None)  # type: ignore[arg-type]

    assert (topic.type, topic.delivery_mode, Exchange("plain").type) == ("topic", 1, "direct")
    assert queue.bindings == (Binding(topic, "a.*"),)
    assert Queue("q", "letters").exchange == Exchange("letters")  # type: ignore[arg-type]
    assert Queue("q", [topic.binding("x")]).bindings == (Binding(topic, "x"),)  # type: ignore[arg-type]
    assert set(Queue("q", bindings={topic.binding("x")}).bindings) == {Binding(topic, "x")}  # type: ignore[arg-type]
    assert len({Queue("a"), Queue("a"), Exchange("a"), Exchange("a")}) == 2
    assert Queue("q", exclusive=True).auto_delete


def test_a_delivery_mode_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'persistant': expected 'transient' or 'persistent'"):
        Exchange("x", delivery_mode="persistant")


def test_a_queue_with_a_channel_is_declared_asked_and_emptied_by_itself(connection: Any) -> None:
    told: list[tuple[Any, ...]] = []
    queue = Queue("own", channel=connection, on_declared=lambda *args: told.append(args))

    assert queue.declare() == "own"
    assert told == [("own", 0, 0)]
    connection.Producer().publish({"n": 1}, routing_key="own")
    assert queue.queue_declare(passive=True).message_count == 1
    message = queue.get()
    assert message.payload == {"n": 1}
    message.ack()
    assert queue.get() is None
    connection.Producer().publish({"n": 2}, routing_key="own")
    assert queue.purge() == 1


def test_a_queue_without_a_channel_says_how_to_give_it_one() -> None:
    with pytest.raises(NotBoundError, match=r"Queue\(…, channel=…\)"):
        Queue("own").declare()
    with pytest.raises(NotBoundError, match=r"exchange\(channel\)"):
        Exchange("own").publish("x")


def test_messages_of_a_queue_without_acknowledgements_are_done_with_on_arrival(
    connection: Any,
) -> None:
    seen: list[Any] = []
    for name, no_ack in (("silent", True), ("spoken", False)):
        connection.Producer().publish(name, routing_key=name)
        queue = Queue(name, no_ack=no_ack)
        consumer = connection.Consumer(
            [queue], callbacks=[lambda body, message: seen.append((body, message.acknowledged))]
        )
        with consumer:
            connection.drain_events(timeout=30)

    assert seen == [("silent", True), ("spoken", False)]


def test_a_queue_that_is_not_to_be_declared_is_not(connection: Any) -> None:
    told: list[Any] = []
    queue = Queue("there", no_declare=True, on_declared=lambda *args: told.append(args))

    assert queue(connection).declare() == "there"
    assert told == []
