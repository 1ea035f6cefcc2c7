"""Events of tasks, as they are written many at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.serialization import loads
from kombu.transport.virtual import Channel
from kombu.transport.virtual import Message as KombuMessage

from umbel.model import Delivery, Message, Request
from umbel.wire import envelope, tasks
from umbel.wire.events import TaskStarted, encode_batch, written
from umbel.wire.news import ENCLOSED, PLAIN, TaskNews, ending, in_style

COMMON = {"hostname": 'odd"näme@host', "pid": 7, "utcoffset": -5.5}
STYLES = pytest.mark.parametrize("style", [PLAIN, ENCLOSED])


def news(style: int) -> TaskNews:
    return TaskNews(hostname='odd"näme@host', pid=7, utcoffset=-5.5, style=style)


def events_in(text: bytes, style: int) -> list[dict[str, Any]]:
    """What whoever listens finds in it."""
    if style == ENCLOSED:
        text = json.loads(b'"%b"' % text).encode()
    found: list[dict[str, Any]] = json.loads(b"[%b]" % text)
    return found


def request(headers: dict[str, Any] | bytes, id_: str = "a", *, style: int = PLAIN) -> Request:
    """As a worker that tells of its tasks reads it."""
    raw = headers
    if isinstance(headers, dict):
        raw = json.dumps({"id": id_, "task": "add", **headers}).encode()
    message = Message(id=id_, body=b"[[], {}, {}]", headers=raw)
    delivery = Delivery(message=message, queue="q", tag="t", attempt=1, redelivered=False)
    return tasks.decode(
        delivery, key=1, accept=frozenset({"application/json"}), limit=1000, tell=style
    )


@STYLES
@pytest.mark.parametrize("args", ["(1, 2)", "('a \"quoted\" ü',)", "back\\slash", "ü", "line\nend"])
@pytest.mark.parametrize("kwargs", ["{}", "{'x': '\"'}", "{'x': 1}"])
@pytest.mark.parametrize("id_", ["a", 'quoted"', "back\\slash", "ünusual"])
def test_received_says_what_the_headers_show(style: int, args: str, kwargs: str, id_: str) -> None:
    headers = {"argsrepr": args, "kwargsrepr": kwargs, "root_id": id_}
    told = [request(headers, id_, style=style), request(headers, id_, style=style)]
    first, second = events_in(news(style).received(told, clock=9, now=12.5), style)
    assert first == second
    assert first == {
        **COMMON,
        "type": "task-received",
        "clock": 9,
        "timestamp": 12.5,
        "uuid": id_,
        "name": "add",
        "args": args,
        "kwargs": kwargs,
        "root_id": id_,
        "parent_id": None,
        "retries": 0,
        "eta": None,
        "expires": None,
    }


@STYLES
def test_received_says_where_a_task_comes_from_and_when_it_is_due(style: int) -> None:
    headers = {
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "root_id": "root",
        "parent_id": "parent",
        "retries": 2,
        "eta": "2026-01-01T00:00:00",
        "expires": "2027-01-01T00:00:00",
    }
    told = [request(headers, style=style)]
    [event] = events_in(news(style).received(told, clock=9, now=12.5), style)
    assert {name: event[name] for name in headers if name in event} == {
        "root_id": "root",
        "parent_id": "parent",
        "retries": 2,
        "eta": "2026-01-01T00:00:00",
        "expires": "2027-01-01T00:00:00",
    }
    assert (event["args"], event["kwargs"]) == ("()", "{}")


@STYLES
@pytest.mark.parametrize(
    "headers",
    [b"", b'"argsrepr": {}, "x": 1', b'"argsrepr": "()", "kwargsrepr": 7', b'"eta": null'],
)
def test_what_is_only_shown_decides_nothing(style: int, headers: bytes) -> None:
    raw = b'{"id": "a", "task": "add"%b%b}' % (b", " if headers else b"", headers)
    told = request(raw, style=style)
    assert (told.id, told.task) == ("a", "add")
    [event] = events_in(news(style).received([told], clock=9, now=12.5), style)
    expected = json.loads(raw)
    assert event["args"] == expected.get("argsrepr")
    assert event["kwargs"] == expected.get("kwargsrepr")


def test_headers_that_are_no_text_harm_nobody() -> None:
    told = request(b'{"id": "a", "task": "add", "argsrepr": "\xff"}', style=ENCLOSED)
    [event] = events_in(news(ENCLOSED).received([told], clock=9, now=12.5), ENCLOSED)
    assert event["uuid"] == "a"


@STYLES
@pytest.mark.parametrize("result", ["4", 'a "quoted" ü\n', "half a character: \udc80", None])
@pytest.mark.parametrize("id_", ["a", 'odd"\\ü'])
def test_a_short_task_has_started_before_it_succeeded(
    style: int, result: str | None, id_: str
) -> None:
    ends = [
        ending(style, id_, result=result, runtime=0.25, now=12.5),
        ending(style, "b", result="5", runtime=1e-05, now=12.5),
    ]
    first, second, *others = events_in(news(style).succeeded(ends, clock=9), style)
    assert first == {
        **COMMON,
        "type": "task-started",
        "clock": 9,
        "timestamp": 12.25,
        "uuid": id_,
    }
    assert second == {
        **COMMON,
        "type": "task-succeeded",
        "clock": 10,
        "timestamp": 12.5,
        "uuid": id_,
        "result": result,
        "runtime": 0.25,
    }
    assert [event["uuid"] for event in others] == ["b", "b"]
    assert events_in(news(style).ended(ends[:1], clock=10), style) == [second]


@STYLES
def test_kombu_and_we_read_a_batch_in_its_envelope(style: int) -> None:
    started = TaskStarted(
        uuid='a"\\ü', hostname="w@h", pid=1, utcoffset=0.0, clock=1, timestamp=2.0
    )
    events = [in_style(written(started), style), in_style(written({"type": "task-own"}), style)]
    message = encode_batch(
        events, group="task", hostname="w@h", exchange="celeryev", serializer="json", style=style
    )
    raw = envelope.encode(message, delivery_tag="t")
    ours = envelope.decode(raw)
    theirs = KombuMessage(json.loads(raw), channel=Channel.__new__(Channel))
    assert (theirs.content_type, theirs.delivery_info["routing_key"]) == (
        "application/json",
        "task.multi",
    )
    assert ours.body == theirs.body
    assert ours.routing_key == "task.multi"
    assert theirs.decode() == json.loads(ours.body)
    assert [event["type"] for event in theirs.decode()] == ["task-started", "task-own"]
    assert theirs.decode()[0]["uuid"] == 'a"\\ü'


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
        [news(PLAIN).succeeded([ending(PLAIN, "a", result="4", runtime=0.25, now=2.0)], clock=1)],
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
