"""``umbel amqp``: what a person says to RabbitMQ, method by method."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.cli.main import main
from umbel.testing.servers import RabbitMQServer

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(
    rabbitmq: RabbitMQServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Say]:
    app = Umbel("desk", broker=rabbitmq.url(), backend=f"memory://{tmp_path}", set_as_current=False)

    def say(*argv: str) -> tuple[int, str, str]:
        try:
            code: Any = main(["amqp", *argv], app=app)
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    yield say
    say("queue.delete", "desk")
    say("exchange.delete", "desk-x")


def test_a_message_goes_round(say: Say) -> None:
    assert say("exchange.declare", "desk-x", "direct", "false", "true") == (0, "OK\n", "")
    assert say("queue.declare", "desk", "false", "true") == (
        0,
        "queue:desk messages:0 consumers:0\nOK\n",
        "",
    )
    assert say("queue.bind", "desk", "desk-x", "k")[0] == 0
    assert say("basic.publish", "hello", "desk-x", "k")[0] == 0

    code, out, _ = say("basic.get", "desk", "true", "--json")

    assert code == 0
    found = json.loads(out)
    assert found["body"] == "hello"
    assert found["delivery_info"]["exchange"] == "desk-x"
    assert say("basic.get", "desk")[1].startswith("No messages in queue")


def test_what_is_acknowledged_at_a_prompt_is_gone_and_the_rest_is_back(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("queue.declare", "desk", "false", "true")
    lines = ["basic.publish one '' desk", "basic.publish two '' desk", "basic.get desk"]
    lines += ["basic.ack 1", "basic.get desk", "nonsense", "queue.declare 'quoted", ":q"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))

    code, out, err = say()

    assert code == 0
    assert "'body': 'one'" in out
    assert "'body': 'two'" in out
    assert "there is no command 'nonsense'" in err
    assert say("queue.purge", "desk") == (0, "1 message deleted.\nOK\n", "")


def test_a_refusal_ends_neither_the_prompt_nor_well(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("queue.declare", "desk", "false", "true")
    monkeypatch.setattr("sys.stdin", io.StringIO("basic.ack 99\nqueue.declare desk true\n"))

    code, out, err = say("repl")

    assert code == 0
    assert "RabbitMQ refuses (406)" in err
    assert "queue:desk" in out
    code, _, err = say("queue.declare", "nowhere", "true")
    assert code == 1
    assert "404" in err


def test_what_must_arrive_and_cannot_is_an_error(say: Say) -> None:
    code, _, err = say("basic.publish", "hello", "", "nowhere", "true")

    assert code == 1
    assert "no queue is bound" in err
    assert say("basic.publish", "hello", "", "nowhere")[0] == 0
