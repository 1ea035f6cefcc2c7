"""Signals that tell of a worker's start and of what it sends, seen through an embedded worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.contrib.testing.app import TestApp, setup_default_app
from umbel.contrib.testing.worker import start_worker
from umbel.signals import (
    Signal,
    celeryd_after_setup,
    task_sent,
    worker_before_create_process,
)

TIMEOUT = 60

Listen = Callable[[Signal, Callable[..., object]], None]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Umbel]:
    url = f"sqlite:///{tmp_path}/tasks.db"
    app = TestApp(broker=url, backend=url)
    with setup_default_app(app):
        yield app


@pytest.fixture
def listen() -> Iterator[Listen]:
    connected: list[tuple[Signal, Callable[..., object]]] = []

    def connect(signal: Signal, receiver: Callable[..., object]) -> None:
        signal.connect(receiver, weak=False)
        connected.append((signal, receiver))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


def test_a_receiver_of_celeryd_after_setup_gives_the_worker_a_queue_of_its_own(
    app: Umbel, listen: Listen
) -> None:
    def add_direct(sender: str, instance: Any, conf: Any, **_: object) -> None:
        assert conf is app.conf
        assert instance.hostname == sender
        instance.app.amqp.queues.select_add(f"{sender}.dq")

    listen(celeryd_after_setup, add_direct)

    with start_worker(app, hostname="w1@here", queues="mail,other", exclude_queues="other") as w:
        assert w.consumer is not None
        assert {queue.name for queue in w.consumer.queues} == {"mail", "w1@here.dq"}
        ping = app.tasks["celery.ping"]
        assert ping.apply_async(queue="w1@here.dq").get(timeout=TIMEOUT) == "pong"


def test_a_process_is_announced_in_the_parent_before_there_is_one(
    app: Umbel, listen: Listen
) -> None:
    announced: list[tuple[int, type]] = []

    def announce(sender: object, **_: object) -> None:
        announced.append((os.getpid(), type(sender)))

    listen(worker_before_create_process, announce)

    with start_worker(app, pool="prefork", concurrency=2, ping_task_timeout=TIMEOUT) as worker:
        assert announced == [(os.getpid(), type(worker._pool))] * 2


def test_task_sent_tells_of_a_task_as_it_did(app: Umbel, listen: Listen) -> None:
    told: list[dict[str, Any]] = []

    def note(signal: Signal, **named: Any) -> None:
        told.append(named)

    listen(task_sent, note)
    result = app.tasks["celery.ping"].delay()

    assert told == [
        {
            "sender": "celery.ping",
            "task_id": result.id,
            "task": "celery.ping",
            "args": (),
            "kwargs": {},
            "eta": None,
            "taskset": None,
        }
    ]
