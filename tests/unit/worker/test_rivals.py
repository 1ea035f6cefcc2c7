"""Schedulers that send periodic tasks beside each other."""

from __future__ import annotations

import json
from typing import Any

from umbel.clock import ManualClock
from umbel.model import Delivery, Message
from umbel.worker.fleet.rivals import Rivals


def sent(by: str, **headers: Any) -> Delivery:
    said = json.dumps({"id": "a", "origin": by, "celery_beat_task": True, **headers})
    return Delivery(
        message=Message(id="a", body=b"", headers=said.encode()),
        queue="celery",
        tag="1",
        attempt=1,
        redelivered=False,
        leased_until=0.0,
    )


async def test_schedulers_that_take_turns_are_rivals() -> None:
    rivals = Rivals(ManualClock())
    for name in ("gen1@a", "gen1@a", "gen2@b"):
        rivals.look([sent(name)])
    assert rivals.names() == []

    rivals.look([sent("gen1@a")])
    assert rivals.names() == ["gen1@a", "gen2@b"]


async def test_one_that_takes_over_is_no_rival() -> None:
    rivals = Rivals(ManualClock())
    for number in range(500):
        rivals.look([sent(f"gen{number}@a"), sent(f"gen{number}@a")])
    assert rivals.names() == []


async def test_rivals_are_forgotten_when_one_has_ended() -> None:
    clock = ManualClock()
    rivals = Rivals(clock)
    for name in ("gen1@a", "gen2@b", "gen1@a"):
        rivals.look([sent(name)])
    for _ in range(5):
        await clock.advance(1000)
        rivals.look([sent("gen1@a")])
    assert rivals.names() == []


async def test_only_periodic_tasks_tell() -> None:
    rivals = Rivals(ManualClock())
    for name in ("gen1@a", "gen2@b", "gen1@a"):
        rivals.look([sent(name, celery_beat_task=False)])
        rivals.look([sent(name)] * 5)
    assert rivals.names() == []
