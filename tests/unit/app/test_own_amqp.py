"""The arguments of an app that bring classes along, and messages of tasks in parts."""

from __future__ import annotations

from typing import Any

import celery
import pytest

from umbel import Exchange, Umbel
from umbel.app.amqp import AMQP, Queues
from umbel.app.sending.tasks_as_dicts import task_message


class Direct(Queues):
    """Makes queues in the app's own way."""

    def new_missing(self, name: str) -> Any:
        return super().new_missing(f"own.{name}")


class OwnAMQP(AMQP):
    queues_cls = Direct
    argsrepr_maxsize = 12

    @staticmethod
    def autoexchange_of(name: str) -> Exchange:
        return Exchange("all", "topic")


@pytest.mark.parametrize("kind", [OwnAMQP, f"{__name__}:OwnAMQP"])
def test_an_app_may_have_an_amqp_of_its_own(kind: Any) -> None:
    with Umbel("own", amqp=kind, broker="memory://own", set_as_current=False) as app:
        assert isinstance(app.amqp, OwnAMQP)
        assert app.amqp is app.amqp
        assert app.amqp.router.route({"queue": "mail"}, "t")["queue"].name == "own.mail"
        assert app.amqp.queues["mail"].exchange == Exchange("all", "topic")
        shown = app.amqp.as_task_v2("id", "t", ["x" * 50]).headers["argsrepr"]
        assert shown == "['xxxxxxxxxxx...']"


def test_the_class_may_say_so_too() -> None:
    class Own(Umbel):
        amqp_cls = OwnAMQP

        def prepare_config(self, c: Any) -> Any:
            return {**c, "task_default_queue": "prepared"}

    with Own("own", broker="memory://own", set_as_current=False) as app:
        assert isinstance(app.amqp, OwnAMQP)
        assert app.amqp.default_queue.name.endswith("prepared")
        assert app.either("task_default_queue", None, None) == "prepared"
        assert app.either("task_default_queue", None, "given", "later") == "given"


def test_a_source_that_is_not_there_may_be_ignored() -> None:
    with Umbel(
        "silent", config_source="no_such_module", config_source_silent=True, set_as_current=False
    ) as app:
        assert app.conf.task_default_queue == "celery"


OPTIONS: dict[str, Any] = {
    "expires": 60.0,
    "countdown": 5.0,
    "group_id": "group",
    "group_index": 2,
    "retries": 1,
    "parent_id": "parent",
    "root_id": "root",
    "shadow": "other",
    "time_limit": 9,
    "soft_time_limit": 8,
    "reply_to": "reply",
    "create_sent_event": True,
}
_TIMES = ("eta", "expires", "origin")


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_messages_in_parts_are_those_of_celery(protocol: int, options: dict[str, Any]) -> None:
    def parts(app: Any) -> Any:
        make = app.amqp.task_protocols[protocol]
        headers, properties, body, sent = make("id", "add", [1, 2], {"z": 3}, **options)
        for part in (headers, body, sent):
            if isinstance(part, dict):
                assert {name for name in _TIMES if part.get(name)} <= set(_TIMES)
                part.update({name: bool(part.get(name)) for name in _TIMES if name in part})
        return headers, properties, body, sent

    theirs = celery.Celery("theirs", set_as_current=False)
    with Umbel("ours", broker="memory://parts", set_as_current=False) as ours:
        found, expected = parts(ours), parts(theirs)
    for name in expected[0]:
        assert found[0][name] == expected[0][name], name
    assert found[1] == expected[1]
    assert list(found[2]) == list(expected[2])
    assert found[3] == expected[3]


def test_a_message_in_parts_is_sent_and_runs() -> None:
    with Umbel("sent", broker="memory://sent", set_as_current=False) as app:
        message = app.amqp.create_task_message("id", "add", (1, 2), {})
        assert isinstance(message, task_message)
        with app.producer_or_acquire() as producer:
            app.amqp.send_task_message(producer, "add", message, queue="sums", priority=3)

        async def receive() -> Any:
            return await (await app.connections.broker()).receive(["sums"], limit=1, wait=0)

        [delivery] = app.portal.call(receive)
        assert delivery.message.id == "id"
        assert delivery.message.correlation_id == "id"
        assert delivery.message.priority == 3
        assert delivery.message.body.startswith(b"[[1,2],{},")
