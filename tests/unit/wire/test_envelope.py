"""kombu's envelope; a kombu channel is the peer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from kombu.transport.virtual import Message as KombuMessage
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from umbel.exceptions import DecodeError, EncodeError
from umbel.model import Delivery, Message
from umbel.wire import envelope, tasks
from umbel.wire.call import Call

JSON = frozenset({"application/json"})
# As a Celery 5.7 client leaves it in Redis.
CAPTURED = (
    b'{"body": "W1sxLCAyXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWluIjog'
    b'bnVsbCwgImNob3JkIjogbnVsbH1d", "content-encoding": "utf-8", "content-type": '
    b'"application/json", "headers": {"lang": "py", "task": "t.add", "id": "TID", "shadow": null, '
    b'"eta": null, "expires": null, "group": null, "group_index": null, "retries": 0, "timelimit": '
    b'[null, null], "root_id": "TID", "parent_id": null, "argsrepr": "(1, 2)", "kwargsrepr": "{}", '
    b'"origin": "gen1@h", "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": '
    b'null, "stamps": {}}, "properties": {"correlation_id": "TID", "reply_to": "R", '
    b'"delivery_mode": 2, "expiration": "60000", "delivery_info": {"exchange": "", "routing_key": '
    b'"celery"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "D"}}'
)


def message(**changes: Any) -> Message:
    encoded = tasks.encode(Call(task="t.add", id="TID", args=(1, 2), origin="gen1@h"))
    fields = {name: getattr(encoded, name) for name in encoded.__struct_fields__}
    return Message(**{**fields, "priority": 0, **changes})


def test_a_captured_envelope_is_understood() -> None:
    found = envelope.decode(CAPTURED)

    assert (found.id, found.correlation_id, found.reply_to) == ("TID", "TID", "R")
    assert (found.exchange, found.routing_key, found.priority) == ("", "celery", 0)
    assert found.properties == {"expiration": "60000"}
    assert found.expires_at is None
    request = tasks.decode(
        Delivery(message=found, queue="celery", tag="D"), key=1, accept=JSON, limit=1
    )
    assert tasks.read_body(request, accept=JSON, limit=1).args == [1, 2]


def test_kombu_reads_what_we_write() -> None:
    sent = message(reply_to="R", priority=3, properties={"expiration": "5", "foo": "bar"})
    with Connection("memory://") as connection, connection.channel() as channel:
        raw = envelope.encode(sent, delivery_tag="D")

        read = KombuMessage(kombu_loads(raw.decode()), channel=channel)

        assert (read.content_type, read.content_encoding) == ("application/json", "utf-8")
        assert read.body == sent.body
        assert read.headers["task"] == "t.add"
        assert read.delivery_tag == "D"
        assert read.properties == {
            "correlation_id": "TID",
            "reply_to": "R",
            "delivery_mode": 2,
            "expiration": "5",
            "foo": "bar",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 3,
            "body_encoding": "base64",
            "delivery_tag": "D",
        }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 5},
        {"expires": 60},
        {"delivery_mode": 1},
        {"foo": "bar"},
        {"serializer": "pickle"},
    ],
    ids=str,
)
def test_we_read_what_celery_publishes(options: dict[str, Any]) -> None:
    celery = Celery("peer", broker="memory://", set_as_current=False)
    celery.conf.task_default_queue = "envelopes"
    with celery.connection_for_write() as connection, connection.channel() as channel:
        with celery.amqp.Producer(channel) as producer:
            celery.send_task("t.add", (1, 2), task_id="TID", producer=producer, **options)
        raw = kombu_dumps(channel._get("envelopes")).encode()

        found = envelope.decode(raw)

    assert (found.id, found.routing_key) == ("TID", "envelopes")
    assert found.priority == options.get("priority", 0)
    assert found.properties.get("expiration") == ("60000" if "expires" in options else None)
    assert found.properties.get("delivery_mode") == options.get("delivery_mode")
    assert found.properties.get("foo") == options.get("foo")
    assert found.reply_to


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reply_to": "R", "correlation_id": "other"},
        {"exchange": "x", "routing_key": "a.b", "priority": 9},
        {"properties": {"delivery_mode": 1, "expiration": "10"}},
        {"properties": {"origin": "gen", "delivery_info": {"redelivered": True}}},
        {"headers": b'{"task":"t","id":"TID","note":"\xc3\xa9"}'},
        {
            "body": b"\x00\xff",
            "content_type": "application/x-msgpack",
            "content_encoding": "binary",
        },
    ],
    ids=str,
)
def test_what_is_written_comes_back(changes: dict[str, Any]) -> None:
    sent = message(**changes)

    assert envelope.decode(envelope.encode(sent, delivery_tag="D")) == sent


def test_headers_are_kept_byte_by_byte() -> None:
    odd = b'{ "task":"t" , "id":"TID", "x": 1.50e0, "x": [ ] }'

    assert envelope.decode(envelope.encode(message(headers=odd), delivery_tag="D")).headers == odd


def test_what_producers_of_other_kinds_leave_out_is_filled_in() -> None:
    found = envelope.decode(b'{"body": "[]", "properties": {"priority": 1000000000}}')

    assert (found.id, found.body, found.headers) == ("", b"[]", b"{}")
    assert (found.priority, found.routing_key) == (255, "")
    restored = json.loads(CAPTURED)
    restored["headers"]["redelivered"] = True
    restored["properties"]["delivery_info"]["redelivered"] = True
    assert envelope.decode(json.dumps(restored).encode()).properties["delivery_info"] == {
        "redelivered": True
    }


def test_an_id_that_is_not_the_correlation_id_is_found() -> None:
    sent = message(correlation_id="TI")

    assert envelope.decode(envelope.encode(sent, delivery_tag="D")).id == "TID"


def _changed(path: str, value: object) -> bytes:
    document = json.loads(CAPTURED)
    *parents, last = path.split("/")
    place = document
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "the envelope is unreadable"),
        (b"garbage", "the envelope is unreadable"),
        (b"\xff\x00", "the envelope is unreadable"),
        (b"[" * 200_000, "the envelope is unreadable"),
        (b"null", "the envelope is of type NoneType, not an object."),
        (b"[]", "the envelope is of type list"),
        (b"{}", "the body is of type NoneType, not a string."),
        (_changed("body", 5), "the body is of type int"),
        (_changed("body", "W1s"), "the body is not base64"),
        (_changed("body", "W1s=W1s="), "the body is not base64"),
        (_changed("body", "é"), "the body is not base64"),
        (_changed("properties/body_encoding", "rot13"), "unknown encoding, 'rot13'"),
        (_changed("headers", [1]), "the headers are of type list, not a mapping."),
        (_changed("headers", "x"), "the headers are of type str"),
        (_changed("properties", 5), "the properties are of type int"),
        (_changed("properties/delivery_info", "x"), "delivery_info are of type str"),
        (_changed("properties/delivery_info/routing_key", 5), "routing_key is of type int"),
        (_changed("properties/correlation_id", {}), "correlation_id is of type dict"),
        (_changed("properties/correlation_id", "\ud800"), "correlation_id is not text"),
        (_changed("properties/reply_to", []), "reply_to is of type list"),
        (_changed("properties/priority", "high"), "priority is of type str, not an integer."),
        (_changed("content-type", 1), "content-type is of type int"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_envelope_is_one_sentence(raw: bytes, sentence: str) -> None:
    with pytest.raises(DecodeError) as caught:
        envelope.decode(raw)

    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_property_that_cannot_be_written_is_an_encode_error() -> None:
    for changes in ({"properties": {"x": object()}}, {"correlation_id": "\ud800"}):
        with pytest.raises(EncodeError):
            envelope.encode(message(**changes), delivery_tag="D")


@given(st.binary())
def test_arbitrary_bytes_are_a_message_or_a_decode_error(raw: bytes) -> None:
    try:
        envelope.decode(raw)
    except DecodeError:
        pass


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(
        ["body", "headers", "content-type", "content-encoding", "properties"]
        + [f"properties/{name}" for name in json.loads(CAPTURED)["properties"]]
    ),
    anything,
)
def test_anything_anywhere_is_a_message_or_a_decode_error(path: str, value: object) -> None:
    try:
        envelope.decode(_changed(path, value))
    except DecodeError:
        pass


@given(
    st.binary(),
    st.text(),
    st.text(),
    st.none() | st.integers(0, 9),
    st.dictionaries(st.sampled_from(["a", "expiration", "timestamp"]), st.text()),
)
def test_any_message_comes_back(
    body: bytes, exchange: str, key: str, priority: int | None, properties: dict[str, object]
) -> None:
    sent = message(
        body=body, exchange=exchange, routing_key=key, priority=priority, properties=properties
    )

    found = envelope.decode(envelope.encode(sent, delivery_tag="D"))

    assert found == message(
        body=body, exchange=exchange, routing_key=key, priority=priority or 0, properties=properties
    )
