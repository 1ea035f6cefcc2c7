"""Broadcast queues: what either side's client sends, every worker of both sides runs once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import kombu
import kombu.common
import pytest

from umbel import Broadcast, Umbel

EXCHANGE = "everyone"


@pytest.fixture
def broadcasters(
    celery_client: celery.Celery, umbel_client: Umbel
) -> dict[str, celery.Celery | Umbel]:
    """Both clients, knowing the queue as programs do."""
    celery_client.conf.task_queues = [kombu.common.Broadcast(EXCHANGE)]
    umbel_client.conf.task_queues = [Broadcast(EXCHANGE)]
    return {"celery": celery_client, "umbel": umbel_client}


@pytest.mark.slow
def test_a_broadcast_of_either_side_runs_once_in_every_worker(
    broadcasters: dict[str, Any],
    start: Callable[..., Any],
    lines_of: Callable[[Path, int], list[str]],
    tmp_path: Path,
) -> None:
    for side in ("celery", "umbel", "umbel"):
        start(side, broadcast=EXCHANGE)
    trace = tmp_path / "trace"

    broadcasters["umbel"].send_task("interop.record", (str(trace), 1), queue=EXCHANGE)
    # Celery's clients do not tell kombu what type the exchange is, unless asked to.
    exchange = kombu.Exchange(EXCHANGE, "fanout")
    broadcasters["celery"].send_task(
        "interop.record", (str(trace), 2), queue=EXCHANGE, declare=[exchange]
    )

    assert sorted(lines_of(trace, 6)) == sorted(
        f"{side} {number}" for side in ("celery", "umbel", "umbel") for number in (1, 2)
    )


@pytest.mark.slow
def test_umbel_workers_hear_a_celery_client_that_does_not_know_the_exchanges_type(
    broadcasters: dict[str, Any],
    start: Callable[..., Any],
    lines_of: Callable[[Path, int], list[str]],
    tmp_path: Path,
) -> None:
    start("umbel", broadcast=EXCHANGE)
    start("umbel", broadcast=EXCHANGE)

    broadcasters["celery"].send_task("interop.record", (str(tmp_path / "trace"), 1), queue=EXCHANGE)

    assert lines_of(tmp_path / "trace", 2) == ["umbel 1", "umbel 1"]
