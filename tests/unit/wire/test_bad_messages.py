"""Whatever arrives, it is a request or one sentence that says why not."""

from __future__ import annotations

import json
import os
import pickle
import time
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import ContentDisallowed, DecodeError, InvalidTaskError, TooLarge
from umbel.model import Delivery, Message, Request
from umbel.serialization.registry import content_types
from umbel.wire import tasks

JSON = frozenset({"application/json"})
EVERYTHING = content_types(["json", "yaml", "msgpack"])
GOOD = {"task": "t", "id": "i"}


def decode(headers: object, body: object = None, accept: frozenset[str] = JSON) -> Request:
    message = Message(
        id="x",
        headers=headers if isinstance(headers, bytes) else json.dumps(headers).encode(),
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
    delivery = Delivery(message=message, queue="q", tag="t")
    return tasks.decode(delivery, key=1, accept=accept, limit=1000)


def read(body: object, headers: object = GOOD) -> tasks.Body:
    return tasks.read_body(decode(headers, body), accept=JSON, limit=1000)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        (None, "headers are of type NoneType, not a mapping"),
        ([], "headers are of type list"),
        ("x", "headers are of type str"),
        (b"", "unreadable headers"),
        (b"{", "unreadable headers"),
        (b"\xff", "unreadable headers"),
        (b'{"task":"t","id":"i","x":' + b"[" * 200_000, "unreadable headers"),
        (b'{"task":"t","id":"i","x":' + b"1" * 5000 + b',"retries":"x"}', "unreadable headers"),
        ({}, "no task, neither in the headers nor in the body"),
        ({"task": "t"}, "the message has no id."),
        ({"task": None, "id": "i"}, "the message has no task."),
        ({"task": "t", "id": None}, "the message has no id."),
        ({"task": "t", "id": {"a": 1}}, "id is of type dict, not a string."),
        ({"task": ["t"], "id": "i"}, "task is of type list, not a string."),
        ({"task": "t", "id": ""}, "id has 0 characters"),
        ({"task": "t", "id": "x" * 1_000_000}, "id has 1000000 characters"),
        ({"task": "t\r\nX: y", "id": "i"}, "task holds characters that cannot be printed"),
        ({"task": "t", "id": "i\x00"}, "id holds characters that cannot be printed"),
        ({"task": "t", "id": "\ud800"}, "id holds characters that cannot be printed"),
        ({**GOOD, "retries": "3"}, "retries is of type str, not an integer."),
        ({**GOOD, "retries": True}, "retries is of type bool"),
        ({**GOOD, "retries": 1.5}, "retries is of type float"),
        ({**GOOD, "retries": 10**9}, "retries is not between 0 and 1000000."),
        ({**GOOD, "retries": 10**30}, "retries is not between"),
        ({**GOOD, "retries": -1}, "retries is not between"),
        ({**GOOD, "eta": "tomorrow"}, "eta is not ISO 8601: 'tomorrow'."),
        ({**GOOD, "eta": "2026-12-31T23:59:60"}, "eta is not ISO 8601"),
        ({**GOOD, "eta": 1e308}, "eta is of type float"),
        ({**GOOD, "eta": {}}, "eta is of type dict"),
        ({**GOOD, "expires": "x" * 100_000}, "expires is not ISO 8601"),
        ({**GOOD, "expires": 5}, "expires is of type int"),
        ({**GOOD, "timelimit": 5}, "timelimit is not [hard, soft]."),
        ({**GOOD, "timelimit": [1]}, "timelimit is not [hard, soft]."),
        ({**GOOD, "timelimit": [1, 2, 3]}, "timelimit is not [hard, soft]."),
        ({**GOOD, "timelimit": ["1", 2]}, "timelimit holds a str, not seconds."),
        ({**GOOD, "timelimit": [-1, None]}, "timelimit holds a number below zero"),
        ({**GOOD, "timelimit": [float("nan"), None]}, "timelimit holds a number below zero"),
        ({**GOOD, "timelimit": {"hard": 1}}, "timelimit is not [hard, soft]."),
        ({**GOOD, "root_id": 5}, "root_id is of type int"),
        ({**GOOD, "parent_id": "a\nb"}, "parent_id holds characters"),
        ({**GOOD, "group": ["g"]}, "group is of type list"),
        ({**GOOD, "group": "g" * 5000}, "group has 5000 characters"),
        ({**GOOD, "ignore_result": "yes"}, "ignore_result is of type str"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_bad_headers_are_one_sentence(headers: object, sentence: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        decode(headers)

    text = str(caught.value)
    assert sentence in text
    assert len(text) < 400


@pytest.mark.parametrize(
    "document",
    [
        "x",
        {},
        {"id": "i"},
        {"task": "t"},
        {"task": 5, "id": "i"},
        {"task": "t", "id": "i", "retries": "x"},
        {"task": "t", "id": "i", "timelimit": "x"},
        {"task": "t", "id": "i", "taskset": 7},
    ],
    ids=ascii,
)
def test_a_bad_document_of_protocol_1_is_one_sentence(document: object) -> None:
    with pytest.raises(InvalidTaskError):
        decode({}, document)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[" * 200_000, b"\x80\x04."])
def test_an_unreadable_body_without_headers_is_one_sentence(body: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="no task in the headers, and an unreadable body"):
        decode({}, body)


def test_generous_headers_are_understood() -> None:
    found = decode(
        b'{"task":"t","id":"i","timelimit":[0,1e300],"retries":null,"eta":null,"stamps":NaN,'
        b'"group_index":"x","group":null,"ignore_result":null,"task":"u","x":"\\ud800"}'
    )

    assert (found.task, found.retries, found.time_limit, found.soft_time_limit) == (
        "u",
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("eta", "seconds"),
    [
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("9999-12-31T23:59:59-14:00", 253402351199.0),
        ("0001-01-01T00:00:00+14:00", -62135647200.0),
    ],
)
def test_moments_without_an_offset_are_utc(eta: str, seconds: float) -> None:
    assert decode({**GOOD, "eta": eta}).eta == seconds


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (5, "the body is of type int, not [args, kwargs, embed]."),
        ("x", "the body is of type str"),
        ([[], {}], "the body has 2 elements"),
        ([[], {}, {}, {}], "the body has 4 elements"),
        ([1, {}, {}], "args is of type int, not a list."),
        (["ab", {}, {}], "args is of type str, not a list."),
        ([{}, {}, {}], "args is of type dict"),
        ([[], [], {}], "kwargs is of type list, not a mapping."),
        ([[], None, {}], "kwargs is of type NoneType"),
        ([[], {}, []], "embed is of type list"),
        ([[], {}, {"callbacks": "x"}], "callbacks is of type str, not a list of signatures."),
        ([[], {}, {"errbacks": [1]}], "errbacks holds a value of type int, not a signature."),
        ([[], {}, {"chain": [{}]}], "chain holds a signature without a task name."),
        ([[], {}, {"chord": "x"}], "chord holds a value of type str"),
        ([[], {}, {"chord": {"task": 1}}], "chord holds a signature without a task name."),
        ({"args": "ab"}, "args is of type str"),
        ({"args": [], "kwargs": 1}, "kwargs is of type int"),
        ({"callbacks": [[]]}, "callbacks holds a value of type list"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_bad_body_is_one_sentence(body: object, sentence: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        read(body)

    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"\xff", b"[" * 200_000, b'["__type__",{"__type__":"x","__value__":1}]', b"[1"],
    ids=lambda body: ascii(body[:20]),
)
def test_an_unreadable_body_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        read(body)


def test_keys_that_are_no_strings_are_refused() -> None:
    import msgspec

    message = Message(
        id="i",
        headers=b'{"task":"t","id":"i"}',
        body=msgspec.msgpack.encode(([], {1: 2}, {})),
        content_type="application/x-msgpack",
    )
    request = tasks.decode(
        Delivery(message=message, queue="q", tag="t"), key=1, accept=EVERYTHING, limit=1000
    )

    with pytest.raises(InvalidTaskError, match="kwargs has a key of type int, not a string"):
        tasks.read_body(request, accept=EVERYTHING, limit=1000)


def test_a_bomb_in_a_message_stops_at_the_limit() -> None:
    bomb = zlib.compress(b"[" + b" " * 50_000_000 + b"[],{},{}]")
    headers = {**GOOD, "compression": "application/x-gzip"}

    with pytest.raises(TooLarge):
        read(bomb, headers)
    with pytest.raises(InvalidTaskError, match="unpack to more than 1000 bytes"):
        decode({"compression": "zlib"}, bomb)


@pytest.mark.parametrize(
    ("compression", "body"),
    [
        ("rar", b"x"),
        ("application/x-gzip", b"junk"),
        (5, b"x"),
        ("application/x-gzip", zlib.compress(zlib.compress(b"[[],{},{}]"))),
    ],
)
def test_bad_compression_is_a_decode_error(compression: object, body: bytes) -> None:
    with pytest.raises(DecodeError):
        read(body, {**GOOD, "compression": compression})


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


@pytest.mark.parametrize("headers", [GOOD, {}])
def test_content_that_is_not_accepted_is_refused_and_not_run(headers: object) -> None:
    message = Message(
        id="i",
        headers=json.dumps(headers).encode(),
        body=pickle.dumps(([Code()], {}, {})),
        content_type="application/x-python-serialize",
    )
    delivery = Delivery(message=message, queue="q", tag="t")

    with pytest.raises(ContentDisallowed, match="refused content of type"):
        tasks.decode(delivery, key=1, accept=JSON, limit=1000)
    with pytest.raises(ContentDisallowed):
        tasks.read_body(Request(key=1, id="i", task="t", message=message), accept=JSON, limit=1000)


def test_what_the_broker_could_not_read_keeps_the_brokers_sentence() -> None:
    delivery = Delivery(
        message=Message(id="", body=b"junk"), queue="q", tag="t", defect="no envelope."
    )

    with pytest.raises(InvalidTaskError, match=r"^no envelope\.$"):
        tasks.decode(delivery, key=1, accept=JSON, limit=1000)


@given(st.binary(), st.binary(), st.sampled_from(sorted(EVERYTHING)))
def test_arbitrary_bytes_are_a_request_or_one_sentence(
    headers: bytes, body: bytes, content_type: str
) -> None:
    message = Message(id="", headers=headers, body=body, content_type=content_type)
    try:
        tasks.decode(
            Delivery(message=message, queue="q", tag="t"), key=1, accept=EVERYTHING, limit=1000
        )
    except InvalidTaskError:
        pass


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["t", "i", "2026-01-01", SIGNATURE := {"task": "x"}]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["task", "id", "args", "kwargs", "chord", "chain", "callbacks"]), inner
        )
    ),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"task": st.just("t") | anything, "id": st.just("i") | anything},
        optional=dict.fromkeys(
            ("retries", "eta", "expires", "timelimit", "group", "compression", "stamps"), anything
        ),
    ),
    st.lists(anything, min_size=2, max_size=4) | anything,
)
def test_anything_in_json_is_a_body_or_a_documented_error(headers: object, body: object) -> None:
    try:
        found = read(body, headers)
    except (InvalidTaskError, DecodeError, ContentDisallowed, TooLarge):
        pass
    else:
        assert type(found.args) is list
        assert type(found.kwargs) is dict


@pytest.mark.parametrize(
    "headers",
    [
        b'{"task":"t","id":"i","eta":"' + b"9" * 5_000_000 + b'"}',
        b'{"task":"t","id":"i","x":' + b"[]," * 0 + b'"' + b"\\u0041" * 1_000_000 + b'"}',
        b'{"task":"t","id":"i","timelimit":[' + b"1," * 500_000 + b"1]}",
        b'{"task":"t","id":"i","retries":1' + b"0" * 4000 + b"}",
    ],
    ids=["eta", "escapes", "timelimit", "retries"],
)
def test_large_headers_take_little_time(headers: bytes) -> None:
    started = time.process_time()
    try:
        decode(headers)
    except InvalidTaskError:
        pass

    assert time.process_time() - started < 10
