"""Task messages: what umbel writes Celery reads, and the reverse."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta
from typing import Any

import kombu.serialization
import pytest
from celery import Celery
from celery.worker.strategy import proto1_to_proto2
from hypothesis import given
from hypothesis import strategies as st
from kombu.compression import decompress

from umbel.clock import ManualClock
from umbel.exceptions import EncodeError
from umbel.model import Delivery, Message, Request
from umbel.serialization.registry import content_types
from umbel.wire import headers, tasks
from umbel.wire.call import Call

ACCEPT = content_types(["json", "pickle", "yaml", "msgpack"])
LIMIT = 100_000
SIGNATURE = {
    "task": "t.next",
    "args": [1],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def celery() -> Celery:
    return Celery("peer", set_as_current=False)


def received(message: Message) -> Request:
    delivery = Delivery(message=message, queue="celery", tag="t", attempt=2)
    return tasks.decode(delivery, key=7, accept=ACCEPT, limit=LIMIT)


def body_of(message: Message) -> tasks.Body:
    return tasks.read_body(received(message), accept=ACCEPT, limit=LIMIT)


def by_kombu(message: Message) -> Any:
    return kombu.serialization.loads(
        message.body, message.content_type, message.content_encoding, accept=ACCEPT
    )


CALLS: list[dict[str, Any]] = [
    {},
    {"args": (2, 2), "kwargs": {"z": 3}},
    {"args": [], "kwargs": {}},
    {"args": (date(2026, 1, 1), b"\xff", float("inf"), (1, "ß")), "kwargs": {"k": {1: 2}}},
    {"args": ("\ud800",)},
    {"eta": MOMENT, "expires": MOMENT + timedelta(1)},
    {"expires": "2031-01-01T00:00:00+00:00"},
    {"time_limit": 5, "soft_time_limit": 3.5},
    {"group_id": "g", "group_index": 2, "root_id": "r", "parent_id": "p", "retries": 3},
    {"callbacks": [SIGNATURE], "errbacks": [SIGNATURE], "chain": [SIGNATURE], "chord": SIGNATURE},
    {"shadow": "s", "ignore_result": True, "replaced_task_nesting": 2},
    {"argsrepr": "(hidden)", "kwargsrepr": "{hidden}"},
]


@pytest.mark.parametrize("options", CALLS, ids=lambda options: ",".join(options))
def test_a_call_is_the_message_that_celery_makes_of_it(
    celery: Celery, options: dict[str, Any]
) -> None:
    message = tasks.encode(Call(task="t.add", id="id-1", origin="gen1@h", **options))

    theirs = celery.amqp.as_task_v2("id-1", "t.add", origin="gen1@h", **{"args": (), **options})
    found, expected = headers.read(message), json.loads(json.dumps(theirs.headers))
    if "\\" in repr(options):
        # Celery drops the backslashes of what it shows; we show what repr does.
        expected["argsrepr"] = repr(options["args"])
    assert found == expected
    written = kombu.serialization.dumps(theirs.body, serializer="json")
    assert by_kombu(message) == kombu.serialization.loads(*_as_bytes(written), accept=ACCEPT)
    assert message.correlation_id == theirs.properties["correlation_id"]


@pytest.mark.parametrize("options", CALLS, ids=lambda options: ",".join(options))
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_what_celery_makes_of_a_call_is_read_as_that_call(
    celery: Celery, options: dict[str, Any], serializer: str
) -> None:
    theirs = celery.amqp.as_task_v2("id-1", "t.add", origin="gen1@h", **{"args": (), **options})
    content_type, encoding, body = _serialized(theirs.body, serializer)
    message = Message(
        id="id-1",
        body=body,
        content_type=content_type,
        content_encoding=encoding,
        headers=json.dumps(theirs.headers).encode(),
    )

    request, found = received(message), body_of(message)

    assert (request.key, request.id, request.task) == (7, "id-1", "t.add")
    assert (request.queue, request.attempt, request.protocol) == ("celery", 2, 2)
    assert request.retries == options.get("retries", 0)
    assert request.eta == (MOMENT.timestamp() if "eta" in options else None)
    assert request.time_limit == options.get("time_limit")
    assert request.soft_time_limit == options.get("soft_time_limit")
    assert request.root_id == options.get("root_id", "id-1")
    assert request.parent_id == options.get("parent_id")
    assert request.group_id == options.get("group_id")
    assert request.ignore_result is options.get("ignore_result", False)
    read = kombu.serialization.loads(body, content_type, encoding, accept=ACCEPT)
    assert [found.args, found.kwargs] == [list(read[0]), read[1]]
    assert found.callbacks == read[2]["callbacks"]
    assert found.errbacks == read[2]["errbacks"]
    assert found.chain == read[2]["chain"]
    assert found.chord == read[2]["chord"]


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib", "bzip2"])
def test_serializers_and_compressions_are_celerys(serializer: str, compression: str | None) -> None:
    call = Call(task="t.add", id="i", args=(1, "b"), serializer=serializer, compression=compression)

    message = tasks.encode(call)

    body = message.body
    if compression:
        body = decompress(body, str(headers.read(message)["compression"]))
    plain = kombu.serialization.loads(
        body, message.content_type, message.content_encoding, accept=ACCEPT
    )
    assert list(plain[0]) == [1, "b"]
    assert body_of(message).args == [1, "b"]


def test_headers_and_stamps_of_the_user_travel_flat_and_typed() -> None:
    call = Call(
        task="t",
        id="i",
        headers={"mine": datetime(2026, 1, 1), "id": "other"},
        stamped_headers=["mon"],
        stamps={"mon": ["a"]},
    )

    found = headers.read(tasks.encode(call))

    assert found["mine"] == datetime(2026, 1, 1)
    assert found["id"] == "other"
    assert (found["stamped_headers"], found["stamps"]) == (["mon"], {"mon": ["a"]})


def test_an_expiring_call_says_so_in_milliseconds_too() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    expires = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
    call = Call(task="t", id="i", expires=expires, expires_at=expires.timestamp())

    message = tasks.encode(call, clock=clock)

    assert message.properties == {"expiration": "120000"}
    assert message.expires_at == expires.timestamp()


def test_a_transient_call_and_its_properties_are_kept() -> None:
    call = Call(task="t", id="i", delivery_mode=1, properties={"foo": "bar"}, priority=3)

    message = tasks.encode(call)

    assert message.properties == {"foo": "bar", "delivery_mode": 1}
    assert message.priority == 3


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack"])
@pytest.mark.parametrize("protocol", [1, 2])
def test_an_argument_that_cannot_be_written_is_located(serializer: str, protocol: int) -> None:
    call = Call(
        task="t",
        id="i",
        args=(1, {"ctx": object()}),
        serializer=serializer,
        protocol=protocol,
    )

    with pytest.raises(EncodeError, match=r"'object' at args\[1\]\['ctx'\] as"):
        tasks.encode(call)


def test_protocol_1_is_what_celery_makes_of_a_call(celery: Celery) -> None:
    options: dict[str, Any] = {
        "args": (2,),
        "kwargs": {"z": 3},
        "group_id": "g",
        "group_index": 1,
        "time_limit": 5,
        "soft_time_limit": 4,
        "eta": MOMENT,
        "expires": MOMENT,
        "callbacks": [SIGNATURE],
    }

    message = tasks.encode(Call(task="t.add", id="i", protocol=1, **options))

    theirs = celery.amqp.as_task_v1("i", "t.add", **options)
    assert by_kombu(message) == json.loads(json.dumps(theirs.body))
    assert message.headers == b"{}"
    request = received(message)
    assert (request.id, request.task, request.protocol) == ("i", "t.add", 1)
    assert (request.group_id, request.time_limit, request.soft_time_limit) == ("g", 5, 4)
    assert request.eta == MOMENT.timestamp()
    assert body_of(message).callbacks == [SIGNATURE]


def test_a_chain_in_protocol_1_travels_as_nested_callbacks() -> None:
    chain = [{"task": "third", "options": {}}, {"task": "second", "options": {"link": []}}]

    body = body_of(tasks.encode(Call(task="first", id="i", protocol=1, chain=chain)))

    assert body.callbacks == [
        {"task": "second", "options": {"link": [{"task": "third", "options": {}}]}}
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"task": "t", "id": "i"},
        {"task": "t", "id": "i", "args": [1], "kwargs": {"k": 1}, "retries": 2, "taskset": "T"},
        {"task": "t", "id": "i", "args": [1], "group": "G", "timelimit": [None, 3]},
        {"task": "t", "id": "i", "args": None, "kwargs": None, "group": "G", "taskset": "T"},
    ],
)
def test_protocol_1_is_read_as_celery_reads_it(document: dict[str, Any]) -> None:
    message = Message(id="", body=json.dumps(document).encode())

    request, body = received(message), body_of(message)

    if document.get("args", 0) is not None:
        theirs = proto1_to_proto2(message, dict(document))
        assert (body.args, body.kwargs) == (list(theirs[0][0]), theirs[0][1])
        assert request.group_id == theirs[1].get("group")
    assert request.retries == document.get("retries", 0)


def test_a_hybrid_has_its_call_in_the_headers_and_its_arguments_in_a_mapping() -> None:
    message = Message(
        id="i",
        headers=b'{"task": "t", "id": "i", "retries": 1, "eta": "2030-01-02T03:04:05.000006"}',
        body=json.dumps(
            {"args": [1], "kwargs": {"k": 2}, "errbacks": [SIGNATURE], "retries": 9, "id": "no"}
        ).encode(),
    )

    request, body = received(message), body_of(message)

    assert (request.id, request.retries, request.eta) == ("i", 1, MOMENT.timestamp())
    assert (body.args, body.kwargs, body.errbacks) == ([1], {"k": 2}, [SIGNATURE])


def test_the_least_that_is_a_message_is_accepted() -> None:
    message = Message(id="i", headers=b'{"task":"t","id":"i"}', body=b"[[1],{},{}]")

    assert received(message).ignore_result is None
    assert body_of(message) == tasks.Body([1], {})


def test_a_pickled_body_is_read_where_it_is_accepted() -> None:
    message = Message(
        id="i",
        headers=b'{"task":"t","id":"i"}',
        body=pickle.dumps(((1,), {"k": {1, 2}}, {"chain": None})),
        content_type="application/x-python-serialize",
        content_encoding="binary",
    )

    assert body_of(message) == tasks.Body([1], {"k": {1, 2}})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1).filter(str.isprintable)


@given(
    task=names,
    id=names,
    args=st.lists(values),
    kwargs=st.dictionaries(st.text(), values),
    retries=st.integers(0, 1000),
    group=st.none() | names,
    eta=st.none() | st.datetimes(timezones=st.just(UTC)),
    protocol=st.sampled_from([1, 2]),
    compression=st.sampled_from([None, "zlib"]),
)
def test_a_call_comes_back_as_it_was_made(
    task: str,
    id: str,
    args: list[Any],
    kwargs: dict[str, Any],
    retries: int,
    group: str | None,
    eta: datetime | None,
    protocol: int,
    compression: str | None,
) -> None:
    message = tasks.encode(
        Call(
            task=task,
            id=id,
            args=args,
            kwargs=kwargs,
            retries=retries,
            group_id=group,
            eta=eta,
            protocol=protocol,
            compression=compression,
        )
    )

    request = received(message)

    assert (request.task, request.id, request.retries) == (task, id, retries)
    assert request.group_id == group
    assert request.eta == (eta.timestamp() if eta else None)
    body = tasks.read_body(request, accept=ACCEPT, limit=10_000_000)
    assert (body.args, body.kwargs) == (args, kwargs)


def _as_bytes(dumped: tuple[str, str, Any]) -> tuple[bytes, str, str]:
    content_type, encoding, body = dumped
    return body.encode() if isinstance(body, str) else body, content_type, encoding


def _serialized(body: object, serializer: str) -> tuple[str, str, bytes]:
    data, content_type, encoding = _as_bytes(kombu.serialization.dumps(body, serializer=serializer))
    return content_type, encoding, data
