"""``before_task_publish`` and ``after_task_publish``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from umbel.exceptions import BrokerUnavailable, OperationalError
from umbel.signals import after_task_publish, before_task_publish
from umbel.testing.faults import raising

from .conftest import Shop

Heard = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    found: Heard = []

    def before(sender: Any = None, **given: Any) -> None:
        found.append(("before", sender, given))

    def after(sender: Any = None, **given: Any) -> None:
        found.append(("after", sender, given))

    before_task_publish.connect(before)
    after_task_publish.connect(after)
    yield found
    before_task_publish.disconnect(before)
    after_task_publish.disconnect(after)


@pytest.fixture
def changing() -> Iterator[Any]:
    receivers: list[Any] = []

    def connect(receiver: Any) -> Any:
        before_task_publish.connect(receiver, weak=False)
        receivers.append(receiver)
        return receiver

    yield connect
    for receiver in receivers:
        before_task_publish.disconnect(receiver)


def test_both_say_what_is_sent_and_where(app: Shop, heard: Heard) -> None:
    result = app.task(name="add")(lambda x, y: x).apply_async((1,), {"y": 2}, queue="slow")

    assert [(name, sender) for name, sender, _ in heard] == [("before", "add"), ("after", "add")]
    for _, _, given in heard:
        assert given["headers"]["id"] == result.id
        assert given["headers"]["task"] == "add"
        assert (given["exchange"], given["routing_key"]) == ("", "slow")
        assert tuple(given["body"][0]) == (1,)
        assert given["body"][1] == {"y": 2}
    before = heard[0][2]
    assert before["properties"]["correlation_id"] == result.id
    assert before["properties"]["reply_to"] == app.oid
    assert before["declare"] == []
    assert before["retry_policy"]["max_retries"] == 3


def test_receivers_may_choose_by_the_tasks_name(app: Shop) -> None:
    heard: list[str] = []

    def hear(headers: Any, **_: Any) -> None:
        heard.append(headers["task"])

    before_task_publish.connect(hear, sender="one")
    try:
        app.send_task("one")
        app.send_task("two")
    finally:
        before_task_publish.disconnect(hear, sender="one")

    assert heard == ["one"]


def test_receivers_may_change_headers_and_properties(app: Shop, changing: Any) -> None:
    @changing
    def change(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "ä-1"
        headers["shadow"] = "other"
        properties["priority"] = 4
        properties["app_id"] = "shop"
        properties["reply_to"] = "me"

    app.task(name="add")(lambda: None).delay()

    letter = app.letter
    assert letter.headers["trace"] == "ä-1"
    assert letter.headers["shadow"] == "other"
    assert letter.message.priority == 4
    assert letter.message.reply_to == "me"
    assert letter.message.properties == {"app_id": "shop"}


def test_every_message_of_a_batch_is_announced(app: Shop, heard: Heard) -> None:
    app.task(name="add")(lambda x: x).apply_many([(n,) for n in range(5)])

    assert [name for name, *_ in heard] == ["before"] * 5 + ["after"] * 5


@pytest.mark.parametrize("options", [{"serializer": "pickle"}, {"compression": "gzip"}])
def test_the_body_is_shown_whatever_its_form(
    app: Shop, heard: Heard, options: dict[str, Any]
) -> None:
    app.task(name="add")(lambda x: x).apply_async((1,), **options)

    assert [given["body"][0][0] for _, _, given in heard] == [1, 1]


def test_nothing_is_announced_after_a_publish_that_failed(app: Shop, heard: Heard) -> None:
    app.plan.always("publish", raising(BrokerUnavailable("away")))

    with pytest.raises(OperationalError):
        app.task(name="add")(lambda: None).apply_async(retry=False)

    assert [name for name, *_ in heard] == ["before"]


def test_a_receiver_that_fails_does_not_stop_the_call(
    app: Shop, changing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @changing
    def fail(**_: Any) -> None:
        raise LookupError("no")

    app.task(name="add")(lambda: None).delay()

    assert len(app.sent) == 1
    assert "LookupError" in caplog.text


async def test_the_async_forms_are_announced_too(app: Shop, heard: Heard) -> None:
    await app.task(name="add")(lambda: None).adelay()
    await app.aclose()

    assert [name for name, *_ in heard] == ["before", "after"]
