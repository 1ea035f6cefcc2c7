"""The walk of docs/internals/walk.md, walked: every stop is there, none was added, none is dear."""

from __future__ import annotations

import pytest

from benchmarks.calls import ALONE, BUDGETS, Counted, Counting, count_calls

STOPS = {
    "publish": (
        "app/task.py:Task.apply_async",
        "app/sending/producer.py:",
        "drivers/memory/broker.py:",
    ),
    "before": (
        "worker/fetching/intake.py:",
        "worker/fetching/admission.py:",
        "worker/fetching/feed.py:",
        "pools/inline.py:",
        "execution/",
    ),
    "after": ("execution/", "worker/settling/settle.py:", "drivers/memory/"),
}


@pytest.fixture
async def counted() -> Counted:
    return await count_calls(Counting())


@pytest.mark.alone
async def test_the_walk_passes_its_stops_within_its_budgets(counted: Counted) -> None:
    legs = {
        "publish": counted.publish_one,
        "before": counted.before,
        "after": counted.after,
    }

    for leg, stops in STOPS.items():
        for stop in stops:
            assert any(name.startswith(stop) for name in legs[leg]), f"{leg} does not pass {stop}"
    figures = counted.figures()
    for name, budget in BUDGETS.items():
        assert figures[name] <= budget, f"{name}: {figures}"
    assert counted.before.total() <= ALONE, counted.before
    assert counted.after.total() <= ALONE, counted.after
