"""How many requests are handed over at once."""

from __future__ import annotations

import pytest

from umbel.pools.pace import Pace


def ahead_after(seconds: float) -> int:
    pace = Pace()
    for _ in range(50):
        pace.observe(seconds, 1)
    return pace.ahead


@pytest.mark.parametrize(
    ("seconds", "ahead"), [(0.000_01, 200), (0.001_01, 15), (0.01, 2), (0.02, 1), (60.0, 1)]
)
def test_behind_what_runs_waits_work_for_15_milliseconds(seconds: float, ahead: int) -> None:
    assert ahead_after(seconds) == ahead


def test_tasks_that_become_long_are_believed_at_once() -> None:
    pace = Pace()
    pace.observe(0.001, 200)
    assert pace.ahead == 200

    pace.observe(0.1, 1)

    assert pace.ahead == 1
