"""Two Celery and two umbel workers on one queue: every task runs once; killed, none is lost.

``UMBEL_FLEET=5000`` sends that many tasks; the suite sends fewer.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.testing.servers import rabbitmq_server

from .conftest import Worker, client_of

TASKS = int(os.environ.get("UMBEL_FLEET", "800"))
PATIENCE = 60 + TASKS / 20
pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(2 * PATIENCE))]


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the tasks go; results are in Redis."""
    if request.param == "redis":
        yield "redis"
        return
    with rabbitmq_server() as server:
        monkeypatch.setenv("INTEROP_BROKER", server.url())
        yield "rabbitmq"


@pytest.fixture
def clients(broker: str, redis_url: str) -> Iterator[tuple[Any, Umbel]]:
    with client_of("celery", redis_url) as theirs, client_of("umbel", redis_url) as ours:
        yield theirs, ours


def runs(trace: Path) -> Counter[int]:
    return Counter(int(line.split()[1]) for line in trace.read_text().splitlines())


def send(clients: tuple[Any, Umbel], name: str, trace: Path, numbers: range) -> list[Any]:
    return [clients[n % 2].send_task(name, (str(trace), n)) for n in numbers]


def test_a_mixed_fleet_runs_each_task_once(
    clients: tuple[Any, Umbel], start: Callable[..., Worker], tmp_path: Path
) -> None:
    for side in ("celery", "umbel") * 2:
        start(side)
    trace = tmp_path / "trace"

    sent = send(clients, "interop.record", trace, range(TASKS))

    assert [each.get(timeout=PATIENCE) for each in sent] == list(range(TASKS))
    assert runs(trace) == Counter(range(TASKS))
    sides = Counter(line.split()[0] for line in trace.read_text().splitlines())
    assert min(sides["celery"], sides["umbel"]) > 0, sides


def test_what_killed_workers_held_runs_elsewhere(
    clients: tuple[Any, Umbel], start: Callable[..., Worker], broker: str, tmp_path: Path
) -> None:
    settings = {"worker_lease": 4}
    workers = {
        "celery": [start("celery"), start("celery")],
        "umbel": [start("umbel", **settings), start("umbel", **settings)],
    }
    trace = tmp_path / "trace"
    count = TASKS // 2
    sent = send(clients, "interop.late_record", trace, range(count))
    deadline = time.monotonic() + PATIENCE
    while not trace.exists() or len(runs(trace)) < count // 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    # Celery's own window on Redis, between taking a message and noting it, is Celery's.
    workers["umbel"][0].kill()
    (workers["celery" if broker == "rabbitmq" else "umbel"][1]).kill()
    if broker == "redis":
        start("umbel", **settings)

    assert [each.get(timeout=PATIENCE) for each in sent] == list(range(count))
    ran = runs(trace)
    assert set(ran) == set(range(count))
    # Two workers with two processes each were killed in the middle of a task.
    assert sum(ran.values()) - count <= 8
