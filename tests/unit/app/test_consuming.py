"""Consumers outside of workers, under kombu's names; in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Exchange, Queue, Umbel
from umbel.app.connecting.messaging import Connection
from umbel.compat.kombu import common, mixins
from umbel.exceptions import BrokerUnavailable, ContentDisallowed, UmbelError

MAILS = Queue("mails", Exchange("mails"), "mails")
PATIENCE = 20.0


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Umbel]:
    url = f"memory://{request.node.name}"
    with Umbel("app", broker=url, set_as_current=False) as app:
        yield app


@pytest.fixture
def connection(app: Umbel) -> Iterator[Connection]:
    with app.connection() as connection:
        yield connection


def send(connection: Connection, *bodies: Any, queue: Queue = MAILS) -> None:
    for body in bodies:
        connection.Producer().publish(
            body, queue.key, exchange=queue.exchange, declare=[queue], serializer="json"
        )


def ready(connection: Connection, queue: str = "mails") -> int:
    return connection.default_channel.queue_declare(queue, passive=True).message_count


def test_a_consumer_is_handed_messages_while_somebody_drains(connection: Connection) -> None:
    send(connection, {"to": "a"}, {"to": "b"})
    heard: list[Any] = []

    def on_mail(body: Any, message: Any) -> None:
        heard.append((body, message.delivery_info["routing_key"], threading.current_thread()))
        message.ack()

    with connection.Consumer(MAILS, callbacks=[on_mail]) as consumer:
        assert consumer.consuming_from("mails")
        connection.drain_events(timeout=PATIENCE)
        connection.drain_events(timeout=PATIENCE)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.01)

    here = threading.current_thread()
    assert heard == [({"to": "a"}, "mails", here), ({"to": "b"}, "mails", here)]
    assert ready(connection) == 0


def test_what_was_not_settled_goes_back_with_the_connection(app: Umbel) -> None:
    with app.connection() as connection:
        send(connection, "one", "two", "three")
        seen: list[Any] = []
        with connection.Consumer(MAILS, on_message=seen.append):
            connection.drain_events(timeout=PATIENCE)
        # Two have gone back unseen; what was seen can still be settled.
        assert ready(connection) == 2
        seen.pop().ack()
        with connection.Consumer(MAILS, on_message=seen.append):
            connection.drain_events(timeout=PATIENCE)
    with app.connection() as connection:
        assert ready(connection) == 2
    with pytest.raises(BrokerUnavailable, match="others get it"):
        seen.pop().ack()


def test_a_process_that_ends_gives_back_what_it_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'queues.db'}"
    with Umbel("app", broker=url, set_as_current=False) as app, app.connection() as connection:
        send(connection, "one")
        program = f"""
from umbel import Umbel, Queue
connection = Umbel("app", broker={url!r}).connection()
connection.Consumer(Queue("mails"), on_message=lambda message: print(message.payload)).consume()
connection.drain_events(timeout={PATIENCE})
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
        )
        assert (done.stdout, done.stderr) == ("one\n", "")
        assert ready(connection) == 1


def test_messages_can_be_rejected_and_given_back(connection: Connection) -> None:
    send(connection, "one")
    seen: list[Any] = []
    with connection.Consumer(MAILS, on_message=seen.append):
        connection.drain_events(timeout=PATIENCE)
        seen[0].requeue()
        connection.drain_events(timeout=PATIENCE)
        assert seen[1].payload == "one"
        seen[1].reject()
    assert ready(connection) == 0


def test_content_that_is_not_accepted_reaches_nobody(connection: Connection) -> None:
    connection.Producer().publish({"a": 1}, "mails", declare=[MAILS], serializer="pickle")
    refused: list[Any] = []
    with connection.Consumer(MAILS, callbacks=[print]), pytest.raises(ContentDisallowed):
        connection.drain_events(timeout=PATIENCE)

    def on_decode_error(message: Any, error: Exception) -> None:
        refused.append(error)
        message.reject()

    connection.Producer().publish({"a": 1}, "mails", serializer="pickle")
    with connection.Consumer(MAILS, callbacks=[print], on_decode_error=on_decode_error):
        connection.drain_events(timeout=PATIENCE)
    assert isinstance(refused[0], ContentDisallowed)


def test_a_queue_with_a_channel_is_declared_read_and_emptied(connection: Connection) -> None:
    queue = MAILS(connection)
    assert queue.declare() == "mails"
    assert queue.get() is None
    send(connection, "one", "two", "three")

    first = queue.get()
    first.ack()
    with pytest.raises(RuntimeError, match="already acknowledged"):
        first.ack()
    second = connection.default_channel.basic_get("mails")
    connection.default_channel.basic_ack(second.delivery_tag)
    with pytest.raises(UmbelError, match="settled it before"):
        connection.default_channel.basic_ack(second.delivery_tag)
    assert (first.payload, second.payload, queue.purge()) == ("one", "two", 1)
    assert Queue("")(connection).name.startswith("amq.gen-")


def test_a_simple_queue_has_put_and_get(connection: Connection) -> None:
    with connection.SimpleQueue("simple") as queue:
        assert not len(queue)
        with pytest.raises(queue.Empty):
            queue.get_nowait()
        queue.put({"n": 1})
        queue.put("two", headers={"a": "b"})
        assert queue.qsize() == 2
        message = queue.get(timeout=PATIENCE)
        assert message.payload == {"n": 1}
        message.ack()
        message = queue.get(timeout=PATIENCE)
        assert (message.payload, message.headers["a"]) == ("two", "b")
        message.ack()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.01)
        queue.put("three")
        assert queue.clear() == 1 or queue.get(timeout=PATIENCE).payload == "three"


def test_a_simple_buffer_acknowledges_by_itself(connection: Connection) -> None:
    with connection.SimpleBuffer("buffer") as queue:
        queue.put([1, 2])
        assert queue.get(timeout=PATIENCE).acknowledged


class Mails(mixins.ConsumerProducerMixin):
    """Answers mails until it has had two."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.told: list[Any] = []

    def get_consumers(self, Consumer: Any, channel: Any) -> Any:  # noqa: N803 - kombu's
        return [Consumer(queues=[MAILS], callbacks=[self.on_mail], accept=["json"])]

    def on_connection_revived(self) -> None:
        self.told.append("revived")

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kw: Any) -> None:
        self.told.append(("ready", len(consumers), kw))
        send(self.connection, "one", "two")

    def on_mail(self, body: Any, message: Any) -> None:
        self.told.append(body)
        self.producer.publish(f"re: {body}", "answers", declare=[Queue("answers")])
        message.ack()
        self.should_stop = body == "two"

    def on_consume_end(self, connection: Any, channel: Any) -> None:
        self.told.append("end")


def test_a_mixin_consumes_until_it_is_to_stop(connection: Connection) -> None:
    mails = Mails(connection)

    mails.run(of="a test")

    assert mails.told == ["revived", ("ready", 1, {"of": "a test"}), "one", "two", "end"]
    answers = Queue("answers")(connection)
    assert [answers.get(no_ack=True).payload for _ in "12"] == ["re: one", "re: two"]


def test_a_mixin_waits_no_longer_than_it_is_told(connection: Connection) -> None:
    class Quiet(Mails):
        def on_consume_ready(self, *_: Any, **kw: Any) -> None:
            self.told.append("ready")

    quiet = Quiet(connection)
    with pytest.raises(TimeoutError):
        list(quiet.consume(timeout=0.02, safety_interval=0.01))
    assert quiet.told == ["revived", "ready"]


def test_loops_over_messages(connection: Connection) -> None:
    send(connection, "one", "two", "three")
    heard: list[Any] = []
    with connection.Consumer(MAILS, callbacks=[lambda body, _: heard.append(body)], no_ack=True):
        for _ in common.eventloop(connection, limit=2, timeout=PATIENCE):
            pass
    assert heard == ["one", "two"]
    found = list(common.itermessages(connection, None, MAILS, limit=1, timeout=PATIENCE))
    assert [body for body, _ in found] == ["three"]
    assert common.maybe_declare(Queue("more"), connection)


def test_pools_hand_out_connections_and_producers(app: Umbel) -> None:
    with app.pool.acquire(block=True) as connection:
        assert connection == app.connection()
        with common.producers[connection].acquire(block=True) as producer:
            producer.publish({"a": 1}, "mails", declare=[MAILS])
        with common.connections[connection].acquire() as other:
            assert other == connection
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish({"a": 2}, "mails")
        assert ready(producer.connection) == 2
    common.reset()
    assert not common.producers


def test_a_connection_is_tried_until_it_is_there() -> None:
    told: list[Any] = []
    url = "redis://127.0.0.1:1/0"
    with (
        Umbel("app", broker=url, set_as_current=False) as app,
        app.connection() as connection,
        pytest.raises(connection.connection_errors),
    ):
        connection.ensure_connection(
            lambda error, interval: told.append((type(error), interval)),
            max_retries=2,
            interval_start=0.01,
            interval_step=0.02,
        )
    assert [interval for _, interval in told] == [0.01, 0.03]
    assert issubclass(told[0][0], connection.connection_errors)


def test_a_call_is_made_again_when_the_connection_is_lost(connection: Connection) -> None:
    lost = [BrokerUnavailable("gone"), BrokerUnavailable("gone")]

    def call(value: str) -> str:
        if lost:
            raise lost.pop()
        return value

    assert connection.ensure(None, call, max_retries=3)("done") == "done"


def test_a_connection_is_said_in_parts() -> None:
    connection = Connection(
        "rabbit", "guest", "s/e", "/mine", 5673, transport_options={"max_retries": 3}
    )
    assert connection.as_uri(include_password=True) == "amqp://guest:s%2Fe@rabbit:5673/%2Fmine"
    assert connection.info()["virtual_host"] == "/mine"
    assert (connection.userid, connection.password, connection.port) == ("guest", "s/e", 5673)
    assert connection.transport_options == {"max_retries": 3}
