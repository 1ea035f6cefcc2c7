"""Events of tasks, as they are written many at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.serialization import loads

from umbel.model import Message, Request
from umbel.wire import envelope
from umbel.wire.events import TaskNews, TaskStarted, encode_batch, written

NEWS = TaskNews(hostname='odd"näme@host', pid=7, utcoffset=-5.5)
COMMON = {"hostname": 'odd"näme@host', "pid": 7, "utcoffset": -5.5}


def request(headers: dict[str, Any] | bytes, **fields: Any) -> Request:
    raw = headers if isinstance(headers, bytes) else json.dumps(headers).encode()
    message = Message(id="a", body=b"[]", headers=raw)
    return Request(**{"key": 1, "id": "a", "task": "add", "message": message, **fields})


def test_received_says_what_the_headers_show() -> None:
    headers = {
        "argsrepr": "('a \"quoted\" ü',)",
        "kwargsrepr": "{}",
        "eta": "2026-01-01T00:00:00",
        "expires": None,
    }
    told = request(headers, root_id="root", parent_id="parent", retries=2)
    [event] = NEWS.received([told], clock=9, now=12.5)
    assert json.loads(event) == {
        **COMMON,
        "type": "task-received",
        "clock": 9,
        "timestamp": 12.5,
        "uuid": "a",
        "name": "add",
        "args": "('a \"quoted\" ü',)",
        "kwargs": "{}",
        "root_id": "root",
        "parent_id": "parent",
        "retries": 2,
        "eta": "2026-01-01T00:00:00",
        "expires": None,
    }


@pytest.mark.parametrize("headers", [{}, b"no JSON", b'{"argsrepr": '])
def test_received_says_nothing_of_headers_that_show_nothing(headers: dict[str, Any]) -> None:
    [event] = NEWS.received([request(headers, root_id="a")], clock=9, now=12.5)
    found = json.loads(event)
    assert (found["args"], found["kwargs"], found["eta"]) == (None, None, None)
    assert (found["root_id"], found["parent_id"]) == ("a", None)


@pytest.mark.parametrize("result", ["4", 'a "quoted" ü\n', "half a character: \udc80", None])
def test_a_short_task_has_started_before_it_succeeded(result: str | None) -> None:
    pieces = NEWS.succeeded([("a", 0.25, result), ("b", 1e-05, "5")], clock=9, now=12.5)
    first, second, *others = json.loads(b"[%b]" % b",".join(pieces))
    assert first == {
        **COMMON,
        "type": "task-started",
        "clock": 9,
        "timestamp": 12.25,
        "uuid": "a",
    }
    assert second == {
        **COMMON,
        "type": "task-succeeded",
        "clock": 10,
        "timestamp": 12.5,
        "uuid": "a",
        "result": result,
        "runtime": 0.25,
    }
    assert [event["uuid"] for event in others] == ["b", "b"]


def test_a_batch_is_one_message_that_kombu_reads() -> None:
    started = TaskStarted(uuid="a", hostname="w@h", pid=1, utcoffset=0.0, clock=1, timestamp=2.0)
    events = [written(started), written({"type": "task-own", "what": {1, 2}})]
    message = encode_batch(
        events, group="task", hostname="w@h", exchange="celeryev", serializer="json"
    )
    assert message.routing_key == "task.multi"
    document = json.loads(envelope.encode(message, delivery_tag="t"))
    body = envelope.decode(json.dumps(document).encode()).body
    read = loads(
        body, document["content-type"], document["content-encoding"], accept=["application/json"]
    )
    assert [event["type"] for event in read] == ["task-started", "task-own"]
    assert sorted(read[1]["what"]) == [1, 2]


def test_a_batch_may_be_written_with_another_serializer() -> None:
    message = encode_batch(
        NEWS.succeeded([("a", 0.25, "4")], clock=1, now=2.0),
        group="task",
        hostname="w@h",
        exchange="celeryev",
        serializer="msgpack",
    )
    read = loads(
        message.body,
        message.content_type,
        message.content_encoding,
        accept=["application/x-msgpack"],
    )
    assert [event["type"] for event in read] == ["task-started", "task-succeeded"]
