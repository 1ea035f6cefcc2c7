"""Calls go where Celery sends them: the same settings and options, on both sides."""

from __future__ import annotations

import re
from typing import Any

import kombu
import kombu.common
import kombu.messaging
import pytest
from celery import Celery as Peer

from umbel import Exchange, Queue, Umbel

from .conftest import MakeApp

MIME = {"application/x-gzip": "zlib", "application/x-bz2": "bzip2"}

QUEUES = [
    kombu.Queue("t", kombu.Exchange("tx", "topic"), "t.#"),
    kombu.Queue("f", kombu.Exchange("fx", "fanout")),
    kombu.Queue("d", kombu.Exchange("dx"), "dk"),
    kombu.Queue("m", kombu.Exchange("mx", delivery_mode=1), "mk"),
    kombu.Queue("h", kombu.Exchange("hx", "headers"), binding_arguments={"x": 1}),
    kombu.Queue("n"),
    kombu.Queue("key", routing_key="key.#"),
    kombu.Queue("b", [kombu.binding(kombu.Exchange("bx", "topic"), "b.#")]),
    kombu.common.Broadcast("everyone"),
]
TOPIC = {
    "task_default_queue": "dq",
    "task_default_exchange": "dx",
    "task_default_exchange_type": "topic",
    "task_default_routing_key": "d.k",
}


def routed(route: Any, **settings: Any) -> dict[str, Any]:
    return {"task_routes": {"add": route}, "task_queues": QUEUES, **settings}


TABLE: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # settings, options of the task, options of the call
    ({}, {}, {}),
    *[(routed(name), {}, {}) for name in ("t", "f", "d", "m", "h", "n", "key", "b", "new")],
    *[(routed(name, **TOPIC), {}, {}) for name in ("t", "n", "key", "new", "dq")],
    *[(routed("t"), {}, {"queue": name}) for name in ("t", "f", "d", "n", "new", None, "")],
    (routed("everyone"), {}, {}),
    (routed({"queue": "t", "routing_key": "t.1"}), {}, {}),
    (routed({"queue": "d", "routing_key": "t.1"}), {}, {}),
    (routed({"exchange": "e", "routing_key": "k"}), {}, {}),
    (routed({"exchange": "e", "exchange_type": "topic", "routing_key": "k"}), {}, {}),
    (routed({"exchange": "e"}), {}, {"routing_key": "k"}),
    (routed({"routing_key": "k"}), {}, {}),
    (routed({"queue": "t", "routing_key": "k"}), {}, {"queue": "d"}),
    (routed({"queue": "t", "exchange": "e", "routing_key": "k"}), {}, {"queue": "d"}),
    (routed({"queue": "d", "exchange_type": "topic"}), {}, {}),
    (routed({"queue": "t", "exchange_type": "direct"}), {}, {}),
    (routed("t"), {}, {"routing_key": "t.9"}),
    (routed("t"), {}, {"exchange": "e", "routing_key": "k"}),
    (routed("t"), {"queue": "d"}, {}),
    (routed("t"), {"exchange": "e", "routing_key": "k"}, {}),
    (routed("d"), {"routing_key": "k"}, {}),
    (routed("d"), {"queue": "t"}, {"routing_key": "t.9"}),
    (routed("t"), {}, {"exchange": "e"} | {"routing_key": "k"}),
    (routed({"queue": "d", "priority": 5}), {}, {}),
    (routed({"queue": "d", "priority": 5}), {"priority": 3}, {}),
    (routed({"queue": "d", "priority": 5}), {"priority": 3}, {"priority": 0}),
    (routed({"queue": "d", "priority": 5}, task_default_priority=2), {}, {}),
    (routed({"queue": "d", "compression": "zlib", "serializer": "yaml"}), {}, {}),
    (routed({"queue": "d", "compression": "zlib"}), {}, {"compression": "bzip2"}),
    (routed({"queue": "d", "delivery_mode": 1}), {}, {}),
    (routed({"queue": "m", "delivery_mode": 2}), {}, {}),
    (routed("m"), {}, {"delivery_mode": 2}),
    (routed("d", task_default_delivery_mode=1), {}, {}),
    (routed("new", task_create_missing_queue_exchange_type="topic"), {}, {}),
    ({}, {}, {"exchange": "e"}),
    ({}, {}, {"routing_key": "k"}),
    ({}, {}, {"exchange": "", "routing_key": "k"}),
    ({}, {}, {"queue": kombu.Queue("z", kombu.Exchange("zx", "topic"), "z.#")}),
    ({}, {}, {"queue": kombu.Queue("z", kombu.Exchange("zx"), "zk"), "routing_key": "y"}),
    (TOPIC, {}, {}),
    (TOPIC, {}, {"routing_key": "a.b"}),
    ({"task_queues": {"a": {"exchange": "ax", "exchange_type": "topic", "binding_key": "a.#"}}}, {},
     {"queue": "a"}),
    ({"task_queues": {"a": {}}, **TOPIC}, {}, {"queue": "a"}),
    ({"task_queues": QUEUES, "task_create_missing_queues": False}, {}, {"queue": "new"}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
@pytest.mark.parametrize(("settings", "task", "call"), TABLE)
def test_a_call_goes_where_celery_sends_it(
    settings: dict[str, Any],
    task: dict[str, Any],
    call: dict[str, Any],
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ours(make_app, settings, task, call) == theirs(settings, task, call, monkeypatch)


def add() -> None: ...


def ours(
    make_app: MakeApp, settings: dict[str, Any], task: dict[str, Any], call: dict[str, Any]
) -> Any:
    app = make_app(**settings)
    try:
        app.task(name="add", **task)(add).apply_async(**call)
    except KeyError:
        return "no such queue"
    message, headers = app.letter.message, app.letter.headers
    return (
        message.exchange,
        message.routing_key,
        message.priority,
        message.properties.get("delivery_mode", 2),
        message.content_type.rpartition("/")[2],
        MIME.get(headers.get("compression")),
    )


def theirs(
    settings: dict[str, Any],
    task: dict[str, Any],
    call: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(kombu.messaging.Producer, "publish", lambda _, __, **kw: sent.append(kw))
    app = Peer(set_as_current=False, broker="memory://")
    app.conf.update(settings)
    try:
        app.task(name="add", **task)(add).apply_async(**call)
    except KeyError:
        return "no such queue"
    names = ("exchange", "routing_key", "priority", "delivery_mode", "serializer", "compression")
    return tuple(sent[0].get(name) for name in names)


TABLES: list[Any] = [
    {"feed.*": "g"},
    {"feed.tasks.im?": "g"},
    {"feed.*im?": "g"},
    {"feed.*[i]mp": "g"},
    {"tasks.*": "g"},
    {"FEED.*": "g"},
    {"feed.*": "g", "feed.tasks.imp": "e"},
    {"feed.*": "g1", "feed.tasks.*": "g2"},
    {re.compile("feed"): "r"},
    {re.compile("tasks"): "r"},
    {re.compile("feed"): "r", "feed.tasks.imp": "e"},
    ([("feed.*", "p"), ("x", "y")],),
    ([(re.compile("feed"), "p")],),
    [{"x": "1"}, {"feed.tasks.imp": "2"}],
    [{"feed.tasks.imp": {}}, {"feed.tasks.imp": "2"}],
    [{"feed.*": ""}, {"*": "2"}],
    {"feed.*": {"routing_key": "a.b"}},
    lambda name, args, kwargs, options, task=None, **kw: {"queue": name, "priority": 2},
    [lambda *_, **__: None, {"feed.*": {"queue": "q", "priority": 4}}],
]


@pytest.mark.parametrize("routes", TABLES)
@pytest.mark.parametrize("options", [{}, {"queue": "own"}, {"priority": 1, "queue": None}])
def test_the_router_of_the_facade_answers_as_celerys(routes: Any, options: Any) -> None:
    def named(found: dict[str, Any]) -> dict[str, Any]:
        given = {option: value for option, value in found.items() if value is not None}
        return {option: getattr(value, "name", value) for option, value in given.items()}

    app = Umbel(set_as_current=False, task_routes=routes)
    peer = Peer(set_as_current=False)
    peer.conf.task_routes = routes
    asked = (options, "feed.tasks.imp", (), {})

    assert named(app.amqp.router.route(*asked)) == named(peer.amqp.router.route(*asked))


def test_kombus_queues_and_ours_come_to_the_same() -> None:
    more: dict[str, Any] = {
        "consumer_arguments": {"x-priority": 3},
        "no_ack": True,
        "no_declare": True,
    }
    pairs = [
        (kombu.Queue("d", **more), Queue("d", Exchange("celery"), "celery", **more)),
        (kombu.Queue("e", kombu.Exchange("e", "topic", passive=True, delivery_mode=1), "e"),
         Queue("e", Exchange("e", "topic", passive=True, delivery_mode=1), "e")),
        (kombu.Queue("a", kombu.Exchange("x", "topic", durable=False), "a.#", durable=False,
                     expires=5.0, message_ttl=6.0, max_length=7, max_priority=8,
                     queue_arguments={"x-a": 1}, exclusive=True, auto_delete=True, alias="al"),
         Queue("a", Exchange("x", "topic", durable=False), "a.#", durable=False,
               expires=5.0, message_ttl=6.0, max_length=7, max_priority=8,
               queue_arguments={"x-a": 1}, exclusive=True, auto_delete=True, alias="al")),
        (kombu.Queue("b", max_length_bytes=9),
         Queue("b", Exchange("celery"), "celery", max_length_bytes=9)),
        (kombu.Queue("c", kombu.Exchange("h", "headers"), "k", binding_arguments={"x": 1}),
         Queue("c", Exchange("h", "headers"), "k", binding_arguments={"x": 1})),
    ]  # fmt: skip
    app = Umbel(set_as_current=False, task_queues=[theirs for theirs, _ in pairs])

    for queue in (queue for _, queue in pairs):
        assert app.amqp.queues[queue.name] == queue
