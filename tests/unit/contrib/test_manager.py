"""Waiting for tasks and workers, and messages that nobody sent."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from umbel import Umbel, group
from umbel.contrib.testing.manager import Manager, Sentinel
from umbel.contrib.testing.mocks import (
    ContextMock,
    TaskMessage,
    TaskMessage1,
    task_message_from_sig,
)
from umbel.contrib.testing.worker import start_worker
from umbel.model import Delivery, Message
from umbel.serialization import json
from umbel.wire.tasks import decode, read_body

TIMEOUT = 60
JSON = frozenset({"application/json"})


def test_a_manager_sees_what_workers_do_with_tasks(app: Umbel) -> None:
    gate = threading.Event()

    @app.task
    def wait(number: int) -> int:
        assert gate.wait(TIMEOUT)
        return number

    manager = Manager(app)
    with start_worker(app, pool="threads", concurrency=1):
        result = group(wait.s(number) for number in range(3)).apply_async()
        ids = [each.id for each in result]
        manager.assert_received(ids)
        manager.assert_accepted(ids[:1])
        with pytest.raises(Sentinel):
            manager.assert_accepted(ids, interval=0.1, max_retries=1, interval_start=0.01)
        gate.set()
        assert manager.join(result, timeout=TIMEOUT) == [0, 1, 2]
        manager.assert_result_tasks_in_progress_or_completed(list(result))
        manager.wait_until_idle()


def test_joining_says_what_is_missing_and_fails_in_the_end(app: Umbel) -> None:
    @app.task
    def never() -> None: ...

    said = io.StringIO()
    result = never.delay()

    with pytest.raises(AssertionError, match="Missing task results"):
        Manager(app, stdout=said).join(result, timeout=0.01, max_retries=2)
    assert said.getvalue().count(f"!Still waiting for 1/1: [{result.id}]") == 2
    assert Manager(app, no_join=True).join(result) is None


def test_waiting_tries_again_and_gives_up(app: Umbel) -> None:
    said, tries = io.StringIO(), iter([False, False, True])
    manager = Manager(app, stderr=said)

    def look() -> Any:
        return manager.true_or_raise(lambda: next(tries))

    assert manager.wait_for(
        look, (Sentinel,), "the thing", interval_start=0.001, interval_step=0, emit_warning=True
    )
    assert said.getvalue().count("Still waiting for the thing.  Trying again") == 2


def test_what_should_not_happen_must_not(app: Umbel) -> None:
    manager, options = Manager(app), {"max_retries": 2, "interval_start": 0.001}

    manager.ensure_not_for_a_while(manager.true_or_raise, (TypeError,), **options)
    with pytest.raises(AssertionError, match="Should not have happened: it"):
        manager.ensure_not_for_a_while(lambda: 1, (Sentinel,), "it", **options)


def test_a_workers_own_code_reads_the_mocked_messages(app: Umbel) -> None:
    @app.task
    def add(x: int, y: int) -> int: ...

    for mock in (
        task_message_from_sig(app, add.s(2, y=3).set(countdown=10, link=add.s(1))),
        task_message_from_sig(app, add.s(2, y=3).set(countdown=10), TaskMessage=TaskMessage1),
    ):
        message = Message(
            id="", body=mock.body, content_type=mock.content_type, headers=json.dumps(mock.headers)
        )
        request = decode(Delivery(message=message, queue="q", tag=1), key=1, accept=JSON, limit=0)
        body = read_body(request, accept=JSON, limit=0)
        assert (request.task, tuple(body.args), body.kwargs) == (add.name, (2,), {"y": 3})
        assert request.eta is not None
        assert request.eta > app.wall_clock.time()


def test_a_mocked_message_has_what_it_is_given() -> None:
    message = TaskMessage("add", "an-id", (1,), {"y": 2}, shadow="plus", retries=3)

    assert message.headers == {"id": "an-id", "task": "add", "shadow": "plus", "retries": 3}
    assert message.payload[:2] == ((1,), {"y": 2})
    assert message.content_type == "application/json"


def test_a_context_mock_gives_itself_and_lets_errors_pass() -> None:
    mock = ContextMock()

    def fail() -> None:
        with mock as entered:
            assert entered is mock
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    mock.__exit__.assert_called_once()
