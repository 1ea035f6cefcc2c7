"""The walk of docs/internals/walk.md, walked: every stop is there, none was added, none is dear."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.calls import BUDGETS, Counted, Counting, count_calls

STOPS = {
    "publish": ("app/task.py:Task.apply_async", "app/producer.py:", "drivers/memory/broker.py:"),
    "before": ("worker/intake.py:", "worker/admission.py:", "pools/inline.py:", "execution/"),
    "after": ("execution/", "worker/settle.py:", "drivers/memory/"),
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
    assert total(counted.publish_one) <= BUDGETS["publish"], counted.publish_one
    assert total(counted.before) <= BUDGETS["receive to function"], counted.before
    assert total(counted.after) <= BUDGETS["function to settled"], counted.after
    assert len(counted.frames) <= BUDGETS["own frames"], counted.frames


def total(calls: Counter[str]) -> int:
    return sum(calls.values())
