"""Celery and umbel workers side by side on one queue: nothing is lost, nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel

VISIBILITY = 3
"""Seconds; far below what the tasks here take, and restored as eagerly as Celery can."""
IMPATIENT = {
    "broker_transport_options": {
        "visibility_timeout": VISIBILITY,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
}


@pytest.mark.slow
def test_a_task_longer_than_the_visibility_timeout_runs_once_beside_a_celery_worker(
    umbel_client: Umbel, start: Callable[..., Any], lines_of: Callable[..., Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    start("umbel", **IMPATIENT)
    sent = umbel_client.send_task("interop.slow", (str(trace), 3 * VISIBILITY))
    lines_of(trace, 1)
    start("celery", **IMPATIENT)

    assert sent.get(timeout=30) == "umbel"

    begins = [line for line in trace.read_text().splitlines() if "begin" in line]
    assert len(begins) == 1


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["celery", "umbel"])
def test_an_eta_beyond_the_visibility_timeout_runs_once_beside_a_celery_worker(
    caller: str,
    request: pytest.FixtureRequest,
    umbel_client: Umbel,
    start: Callable[..., Any],
    tmp_path: Path,
) -> None:
    client = request.getfixturevalue(f"{caller}_client")
    trace = tmp_path / "trace"
    start("umbel", **IMPATIENT)
    waiting = [
        client.send_task("interop.slow", (str(trace), 0), countdown=3 * VISIBILITY)
        for _ in range(5)
    ]
    # A later call that has run shows that the worker has seen the earlier ones.
    assert umbel_client.send_task("interop.add", (1, 1)).get(timeout=60) == 2
    start("celery", **IMPATIENT)

    for sent in waiting:
        assert sent.get(timeout=30) in {"celery", "umbel"}

    begins = [line for line in trace.read_text().splitlines() if "begin" in line]
    assert len(begins) == len(waiting)


@pytest.mark.slow
def test_celery_restores_what_a_vanished_umbel_worker_held(
    umbel_client: Umbel, start: Callable[..., Any], lines_of: Callable[..., Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    lost = start("umbel", **IMPATIENT)
    sent = umbel_client.send_task("interop.slow", (str(trace), VISIBILITY))
    lines_of(trace, 1)

    lost.kill()
    start("celery", **IMPATIENT)

    assert sent.get(timeout=60) == "celery"
