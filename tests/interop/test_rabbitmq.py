"""One side calls over RabbitMQ, the other runs; results in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

import umbel
from umbel.testing.servers import RabbitMQServer, rabbitmq_server


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A private RabbitMQ for all tests of this module."""
    with rabbitmq_server() as server:
        yield server


@pytest.fixture(autouse=True)
def over_rabbitmq(rabbitmq: RabbitMQServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs and clients of this module use it as their broker."""
    monkeypatch.setenv("INTEROP_BROKER", rabbitmq.url())


def test_calls_go_both_ways(
    celery_client: Any, umbel_client: Any, start: Callable[..., Any]
) -> None:
    for caller, runner in ((celery_client, "umbel"), (umbel_client, "celery")):
        worker = start(runner)
        queue = f"{runner}-{0 if runner == 'umbel' else 1}"

        assert caller.send_task("interop.side", queue=queue).get(timeout=60) == runner
        assert caller.send_task("interop.add", (2, 2), queue=queue).get(timeout=60) == 4
        late = caller.send_task("interop.add", (2, 3), queue=queue, countdown=0.5)
        assert late.get(timeout=60) == 5
        assert caller.send_task("interop.flaky", queue=queue).get(timeout=60) == 2
        with pytest.raises(ValueError, match="no luck"):
            caller.send_task("interop.fail", ("no luck",), queue=queue).get(timeout=60)
        worker.end()


@pytest.mark.parametrize(
    ("caller", "runner"), [("celery", "umbel"), ("umbel", "celery"), ("umbel", "umbel")]
)
def test_results_as_messages_go_both_ways(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., Any],
    make_client: Callable[[str], Any],
    caller: str,
    runner: str,
) -> None:
    monkeypatch.setenv("INTEROP_BACKEND", "rpc://")
    start(runner, task_track_started=True, result_serializer="json")
    client = make_client(caller)
    seen: list[str] = []

    sum_ = client.send_task("interop.add", (2, 2))
    many = [client.send_task("interop.add", (n, n)) for n in range(200)]
    failed = client.send_task("interop.fail", ("no luck",))

    assert sum_.get(timeout=60, on_message=lambda meta: seen.append(meta["status"])) == 4
    assert [each.get(timeout=60) for each in many] == [2 * n for n in range(200)]
    with pytest.raises(ValueError, match="no luck"):
        failed.get(timeout=60)
    assert sum_.state == "SUCCESS"
    assert "SUCCESS" in seen
    assert set(seen) <= {"STARTED", "SUCCESS"}


@pytest.mark.parametrize(
    ("caller", "runner"), [("celery", "umbel"), ("umbel", "celery"), ("umbel", "umbel")]
)
def test_tasks_wait_in_quorum_queues_for_either_side(
    rabbitmq: RabbitMQServer,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., Any],
    make_client: Callable[[str], Any],
    caller: str,
    runner: str,
) -> None:
    vhost = f"{caller}-{runner}"
    rabbitmq.control("add_vhost", vhost)
    rabbitmq.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    monkeypatch.setenv("INTEROP_BROKER", rabbitmq.url(vhost))
    quorum = {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic"}
    start(runner, **quorum)
    client = make_client(caller)
    client.conf.update(quorum)
    began = time.time()

    late = client.send_task("interop.add", (2, 3), countdown=2.5)

    assert late.get(timeout=30) == 5
    assert time.time() >= began + 2.5
    if runner == "umbel":
        # Celery's own workers refuse retries within a second here.
        assert client.send_task("interop.flaky").get(timeout=30) == 2
    queues = rabbitmq.control("list_queues", "-p", vhost, "name", "type").splitlines()
    types = dict(line.split("\t") for line in queues)
    assert types["celery"] == types["celery_delayed_0"] == types["celery_delayed_27"] == "quorum"


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["celery", "umbel"])
def test_chords_cross_both_kinds_of_workers(
    start: Callable[..., Any], make_client: Callable[[str], Any], caller: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    canvas: Any = {"celery": celery, "umbel": umbel}[caller]
    start("celery")
    start("umbel")
    client = make_client(caller)
    path, size = str(trace), 60

    for number in range(3):
        values = [number * size + n for n in range(size)]
        header = [client.signature("interop.record", (path, value)) for value in values]
        body = client.signature("interop.gather", (path,))
        assert canvas.chord(header, app=client)(body).get(timeout=60) == values

    lines = [line.split() for line in trace.read_text().splitlines()]
    assert {side for side, what in lines if what != "body"} == {"celery", "umbel"}
    assert len([what for _, what in lines if what == "body"]) == 3
