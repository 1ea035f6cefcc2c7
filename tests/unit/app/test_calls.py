"""Every option of ``apply_async`` lands where a worker looks for it."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from umbel import Exchange, Queue, Task
from umbel.exceptions import AlwaysEagerIgnored, EncodeError, ImproperlyConfigured, QueueNotFound

from .conftest import MakeApp, Shop


def add(app: Shop, **options: Any) -> Task[..., int]:
    task: Task[..., int] = app.task(name="add", **options)(lambda x=0, y=0: x + y)
    return task


def test_a_plain_call_says_what_celerys_says(app: Shop) -> None:
    result = add(app).delay(2, y=3)

    letter, message = app.letter, app.letter.message
    assert letter.headers == {
        "lang": "py",
        "task": "add",
        "id": result.id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": result.id,
        "parent_id": None,
        "argsrepr": "(2,)",
        "kwargsrepr": "{'y': 3}",
        "origin": f"gen{os.getpid()}@{os.uname().nodename}",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    assert json.loads(message.body) == [
        [2],
        {"y": 3},
        {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
    ]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.id == message.correlation_id == result.id
    assert message.reply_to == app.oid
    assert (message.exchange, message.routing_key) == ("", "celery")
    assert (message.priority, message.not_before, message.expires_at) == (None, None, None)


HEADERS = [
    ({"shadow": "other"}, "shadow", "other"),
    ({"group_id": "g"}, "group", "g"),
    ({"group_id": "g", "group_index": 3}, "group_index", 3),
    ({"retries": 2}, "retries", 2),
    ({"time_limit": 9, "soft_time_limit": 5}, "timelimit", [9, 5]),
    ({"time_limit": 9}, "timelimit", [9, None]),
    ({"root_id": "r"}, "root_id", "r"),
    ({"parent_id": "p"}, "parent_id", "p"),
    ({"argsrepr": "<hidden>"}, "argsrepr", "<hidden>"),
    ({"kwargsrepr": "<hidden>"}, "kwargsrepr", "<hidden>"),
    ({"origin": "me"}, "origin", "me"),
    ({"ignore_result": True}, "ignore_result", True),
    ({"replaced_task_nesting": 1}, "replaced_task_nesting", 1),
    ({"stamped_headers": ["tenant"], "tenant": "a"}, "stamps", {"tenant": "a"}),
    ({"stamped_headers": ["tenant"], "tenant": "a"}, "stamped_headers", ["tenant"]),
    ({"headers": {"trace": "t", "nested": [1]}}, "trace", "t"),
    ({"headers": {"trace": "t", "nested": [1]}}, "nested", [1]),
]


@pytest.mark.parametrize(("options", "header", "value"), HEADERS)
def test_options_that_are_headers(
    app: Shop, options: dict[str, Any], header: str, value: Any
) -> None:
    add(app).apply_async((1, 2), **options)
    app.send_task("add", (1, 2), **options)

    assert [letter.headers[header] for letter in app.letters] == [value, value]
    assert all("tenant" not in letter.message.properties for letter in app.letters)


def test_options_that_are_properties(app: Shop) -> None:
    add(app).apply_async(
        (1,),
        priority=3,
        reply_to="here",
        correlation_id="c",
        delivery_mode="transient",
        app_id="shop",
        user_id="me",
    )

    message = app.letter.message
    assert (message.priority, message.reply_to, message.correlation_id) == (3, "here", "c")
    assert message.properties == {"delivery_mode": 1, "app_id": "shop", "user_id": "me"}


@pytest.mark.parametrize(("mode", "kept"), [(1, {"delivery_mode": 1}), (2, {}), ("persistent", {})])
def test_delivery_modes(app: Shop, mode: Any, kept: dict[str, Any]) -> None:
    add(app).apply_async((1,), delivery_mode=mode)
    assert app.letter.message.properties == kept


def test_the_default_delivery_mode_is_a_setting(app: Shop) -> None:
    app.conf.task_default_delivery_mode = "transient"
    add(app).delay(1)
    assert app.letter.message.properties == {"delivery_mode": 1}


def test_links_travel_in_the_body(app: Shop) -> None:
    task = add(app)
    task.apply_async((1,), link=task.s(5), link_error=[task.si(), task.s(1)])

    body = app.letter.body
    assert body.callbacks is not None
    assert body.errbacks is not None
    assert [link["args"] for link in body.callbacks] == [[5]]
    assert [link["immutable"] for link in body.errbacks] == [True, False]


def test_chain_and_chord_travel_in_the_body(app: Shop) -> None:
    task = add(app)
    task.apply_async((1,), chain=[task.s(9)], chord=task.s(8))

    assert app.letter.body.chain is not None
    assert app.letter.body.chain[0]["args"] == [9]
    assert app.letter.body.chord["args"] == [8]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "content_type", "encoding"),
    [
        ("json", "application/json", "utf-8"),
        ("pickle", "application/x-python-serialize", "binary"),
        ("yaml", "application/x-yaml", "utf-8"),
        ("msgpack", "application/x-msgpack", "binary"),
    ],
)
def test_serializers(app: Shop, name: str, content_type: str, encoding: str) -> None:
    add(app).apply_async((1, "ä"), serializer=name)

    message = app.letter.message
    assert (message.content_type, message.content_encoding) == (content_type, encoding)
    assert app.letter.body.args == [1, "ä"]


def test_the_tasks_serializer_beats_the_setting_and_the_calls_beats_both(app: Shop) -> None:
    app.conf.task_serializer = "yaml"
    task = add(app, serializer="msgpack")
    task.delay()
    task.apply_async(serializer="pickle")
    app.send_task("unknown")
    app.send_task("add")

    assert [message.content_type.rpartition("-")[2] for message in app.sent] == [
        "msgpack",
        "serialize",
        "yaml",
        "msgpack",
    ]


def test_compression(app: Shop) -> None:
    add(app, compression="gzip").delay(1)
    add(app).apply_async((2,), compression="zlib")

    one, two = app.letters
    assert one.headers["compression"] == "application/x-gzip"
    assert json.loads(zlib.decompress(one.message.body))[0] == [1]
    assert two.headers["compression"] == "application/x-gzip"
    assert [one.body.args, two.body.args] == [[1], [2]]


def test_an_unknown_serializer_or_compression_is_named(app: Shop) -> None:
    with pytest.raises(ImproperlyConfigured, match="'jsom'"):
        add(app).apply_async(serializer="jsom")
    with pytest.raises(EncodeError, match="'gzap'"):
        add(app).apply_async(compression="gzap")


def test_an_argument_that_cannot_be_encoded_is_placed(app: Shop) -> None:
    with pytest.raises(EncodeError, match=r"object.*args\[1\]"):
        add(app).delay(1, object())
    assert app.sent == []


ROUTES: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({}, ("", "celery")),
    ({"queue": "slow"}, ("", "slow")),
    ({"queue": Queue("own", Exchange("x", "topic"), "a.b")}, ("x", "a.b")),
    ({"exchange": "media", "routing_key": "video.hd"}, ("media", "video.hd")),
    ({"exchange": Exchange("media", "topic"), "routing_key": "v"}, ("media", "v")),
    ({"queue": "slow", "priority": 3}, ("", "slow")),
    ({"queue": None}, ("", "celery")),
]


@pytest.mark.parametrize(("options", "way"), ROUTES)
def test_where_a_call_goes(app: Shop, options: dict[str, Any], way: tuple[str, str]) -> None:
    add(app).apply_async((1,), **options)
    app.send_task("add", (1,), **options)
    app.task(name="routed", **options)(lambda: None).delay()

    assert [(m.exchange, m.routing_key) for m in app.sent] == [way] * 3


def test_a_call_overrides_the_tasks_queue(app: Shop) -> None:
    add(app, queue="own").apply_async(queue="slow")
    add(app).apply_async()

    assert [message.routing_key for message in app.sent] == ["slow", "own"]


def test_a_queue_of_the_configuration_is_reached_by_its_exchange(make_app: MakeApp) -> None:
    app = make_app(
        task_queues=[
            Queue("celery", Exchange("celery"), "celery"),
            Queue("logs", Exchange("l", "topic"), "log.#"),
        ],
        task_create_missing_queues=False,
    )
    task = add(app)
    task.apply_async(queue="logs", routing_key="log.error")
    with pytest.raises(QueueNotFound, match="'typo'"):
        task.apply_async(queue="typo")

    assert (app.letter.message.exchange, app.letter.message.routing_key) == ("l", "log.error")


def test_the_default_queue_is_a_setting(app: Shop) -> None:
    app.conf.task_default_queue = "mine"
    add(app).delay()
    assert app.letter.message.routing_key == "mine"


def test_priorities_come_from_call_task_and_setting_in_this_order(app: Shop) -> None:
    app.conf.task_default_priority = 1
    app.send_task("elsewhere")
    add(app).delay()
    app.task(name="own", priority=2)(lambda: None).delay()
    app.tasks["own"].apply_async(priority=0)

    assert [message.priority for message in app.sent] == [1, 1, 2, 0]


def test_the_id_may_be_given(app: Shop) -> None:
    result = add(app).apply_async((1,), task_id="mine")

    assert result.id == app.letter.id == app.letter.headers["root_id"] == "mine"
    assert app.send_task("x", task_id="other").id == "other"


def test_ids_are_never_the_same(app: Shop) -> None:
    task = add(app)
    for _ in range(300):
        task.delay()
    assert len({message.id for message in app.sent}) == 300


def test_a_task_that_ignores_its_result_says_so(app: Shop) -> None:
    task = add(app, ignore_result=True)
    task.delay()
    task.apply_async(ignore_result=False)

    assert [letter.headers["ignore_result"] for letter in app.letters] == [True, False]


def test_a_soft_limit_beyond_the_hard_one_is_refused(app: Shop) -> None:
    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal"):
        add(app).apply_async(soft_time_limit=10, time_limit=5)
    add(app).apply_async(soft_time_limit=5, time_limit=5)


@pytest.mark.parametrize("option", ["priority", "time_limit", "soft_time_limit"])
def test_options_that_are_numbers_are_checked(app: Shop, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}='9' is not a number"):
        add(app).apply_async((1, 2), **{option: "9"})


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_callbacks_that_are_no_signatures_are_refused(app: Shop, option: str) -> None:
    task = add(app)
    for wrong in (task, "add", [task.s(1), "add"]):
        with pytest.raises(TypeError, match=rf"{option}=.* is not a signature: .*task\.s\("):
            task.apply_async((1, 2), **{option: wrong})


def test_a_task_may_shadow_its_own_name(app: Shop) -> None:
    class Masked(Task[..., Any]):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"{self.name}<{args[0]}>"

    task = app.task(base=Masked, name="page")(lambda url: None)
    task.delay("/a")
    task.apply_async(("/b",), shadow="given")
    task.apply_many([("/c",)])

    assert [letter.headers["shadow"] for letter in app.letters] == ["page</a>", "given", "page</c>"]


def test_protocol_one_is_written_where_it_is_asked_for(app: Shop) -> None:
    app.conf.task_protocol = 1
    add(app).delay(1, y=2)

    body = json.loads(app.sent[0].body)
    assert body["task"] == "add"
    assert body["args"] == [1]
    assert body["kwargs"] == {"y": 2}


def test_options_that_only_celerys_machinery_needs_are_accepted(app: Shop) -> None:
    add(app).apply_async(
        (1,),
        producer=object(),
        connection=object(),
        publisher=object(),
        router=object(),
        add_to_parent=False,
        declare=[],
        mandatory=True,
    )
    assert app.letter.message.properties == {}


async def test_the_async_forms_send_the_same(app: Shop) -> None:
    task = add(app)
    await task.adelay(1, y=2)
    await task.aapply_async((1,), {"y": 2}, countdown=5, queue="slow")
    await app.asend_task("add", (1,), {"y": 2}, priority=3)
    await app.aclose()

    assert [letter.body.args for letter in app.letters] == [[1]] * 3
    assert [letter.body.kwargs for letter in app.letters] == [{"y": 2}] * 3
    assert app.sent[1].routing_key == "slow"
    assert app.sent[1].not_before is not None
    assert app.sent[2].priority == 3


def test_many_calls_go_out_together(app: Shop) -> None:
    results = add(app).apply_many([(n, n) for n in range(2500)])

    assert [len(batch) for batch in app.post.batches] == [1000, 1000, 500]
    assert [letter.body.args for letter in app.letters] == [[n, n] for n in range(2500)]
    assert [message.id for message in app.sent] == [result.id for result in results]


def test_many_calls_take_options_and_check_arguments(app: Shop) -> None:
    task = add(app)
    task.apply_many([(1,), [2], ()], queue="slow", countdown=10)
    with pytest.raises(TypeError, match="too many"):
        task.apply_many([(1,), (1, 2, 3)])
    with pytest.raises(TypeError, match="args"):
        task.apply_many(["text"])

    assert [letter.body.args for letter in app.letters] == [[1], [2], []]
    assert {message.routing_key for message in app.sent} == {"slow"}
    assert all(message.not_before for message in app.sent)
    assert len({message.id for message in app.sent}) == 3


def test_no_calls_at_all_are_fine(app: Shop) -> None:
    assert add(app).apply_many([]) == []
    assert app.send_many([]) == []
    assert app.sent == []


async def test_many_calls_without_blocking(app: Shop) -> None:
    task = add(app)
    results = await task.aapply_many([(1,), (2,)])
    more = await app.asend_many([task.s(3)])
    await app.aclose()

    assert [message.id for message in app.sent] == [r.id for r in (*results, *more)]


def test_signatures_are_sent_together(app: Shop) -> None:
    task = add(app, queue="own")
    results = app.send_many(
        [
            task.s(1),
            task.s(2).set(queue="slow", priority=1),
            app.signature("else", (3,)),
            {"task": "raw"},
        ]
    )

    assert len(app.post.batches) == 1
    assert [letter.headers["task"] for letter in app.letters] == ["add", "add", "else", "raw"]
    assert [message.routing_key for message in app.sent] == ["own", "slow", "celery", "celery"]
    assert [result.id for result in results] == [message.id for message in app.sent]


def test_a_signature_calls_with_its_own_options(app: Shop) -> None:
    task = add(app)
    task.s(1).set(queue="slow").delay(0)
    task.signature((1,), countdown=10).apply_async(priority=4)
    app.signature("add", args=(5,)).apply_async()

    one, two, three = app.letters
    assert (one.body.args, one.message.routing_key) == ([0, 1], "slow")
    assert two.message.not_before is not None
    assert two.message.priority == 4
    assert three.body.args == [5]


def test_sending_by_name_warns_that_it_is_never_eager(app: Shop) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(AlwaysEagerIgnored, match="no effect on send_task") as caught:
        app.send_task("elsewhere")

    assert caught[0].filename == __file__
    assert len(app.sent) == 1


def test_pickled_arguments_keep_their_types(app: Shop) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    add(app).apply_async((moment, {1, 2}), serializer="pickle")

    assert pickle.loads(app.sent[0].body)[0] == [moment, {1, 2}]
