"""How much to receive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from umbel.model import Outcome, Request
from umbel.worker.fetching.credit import Credit


class Slots:
    """A pool as far as the credit sees it: how much it takes, and how much runs at once."""

    def __init__(self, size: int, free: int) -> None:
        self.size = size
        self.free = free

    def prepare(self) -> None: ...

    async def start(self) -> None: ...

    async def submit(self, requests: Sequence[Request]) -> None: ...

    async def outcomes(self) -> list[Outcome]:
        return []

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None: ...

    async def resize(self, size: int) -> None: ...

    async def restart(self) -> None: ...

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def stop(self, *, grace: float) -> list[Request]:
        return []


def credit(
    pool: Slots,
    *,
    under_way: Sequence[int] = (),
    active: Sequence[int] = (),
    unsettled: Sequence[int] = (),
    prefetch: bool = True,
    multiplier: int | None = None,
) -> Credit:
    return Credit(
        pool,
        prefetch=prefetch,
        multiplier=multiplier,
        under_way=under_way,
        active=active,
        unsettled=unsettled,
    )


async def is_blocked(waiting: asyncio.Task[int]) -> bool:
    for _ in range(3):
        await asyncio.sleep(0)
    return not waiting.done()


async def test_an_idle_pool_is_filled() -> None:
    assert await credit(Slots(2, free=8)).available() == 8


async def test_a_free_slot_is_filled_at_once_however_little_that_is() -> None:
    assert await credit(Slots(2, free=1), active=[1]).available() == 1


async def test_what_is_under_way_counts() -> None:
    under_way = [1, 2, 3, 4, 5, 6]
    some = credit(Slots(2, free=8), under_way=under_way)

    assert await some.available() == 2

    under_way.clear()
    assert await some.available() == 8


async def test_busy_slots_are_given_more_in_batches() -> None:
    pool, active = Slots(2, free=1), list(range(7))
    waiting = asyncio.create_task((some := credit(pool, active=active)).available())
    assert await is_blocked(waiting)

    pool.free = 2
    del active[0]
    some.changed()

    assert await waiting == 2


async def test_without_prefetching_only_free_slots_are_filled() -> None:
    assert await credit(Slots(4, free=100), active=[1], prefetch=False).available() == 3


async def test_a_backend_that_is_away_long_stops_the_intake() -> None:
    unsettled = list(range(10_000))
    waiting = asyncio.create_task(
        (some := credit(Slots(2, free=8), unsettled=unsettled)).available()
    )
    assert await is_blocked(waiting)

    unsettled.clear()
    some.changed()

    assert await waiting == 8


async def test_nothing_is_fetched_ahead_while_all_slots_are_stuck() -> None:
    pool = Slots(size=2, free=100)
    stuck = credit(pool, active=[1])
    stuck.stall()

    assert await stuck.available() == 1

    stuck.ended()
    assert await stuck.available() == 100


async def test_a_multiplier_bounds_what_is_here() -> None:
    bounded = credit(Slots(size=2, free=100), active=[1, 2, 3], multiplier=4)

    assert await bounded.available() == 5


async def test_a_full_buffer_of_results_stops_the_fetching_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unsettled = [1, 2]
    pool = Slots(2, free=8)
    full = Credit(
        pool, prefetch=True, under_way=[], active=[], unsettled=unsettled, unsettled_limit=2
    )

    waiting = asyncio.create_task(full.available())
    assert await is_blocked(waiting)
    unsettled.clear()
    full.changed()

    assert await waiting == 8
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]
    assert "None of them is lost" in caplog.messages[0]


async def test_somebody_may_set_how_many_there_are_at_once() -> None:
    asked = credit(Slots(size=2, free=100), active=range(3))
    assert (asked.most, asked.room()) == (103, 100)

    asked.limit(5)
    assert (asked.most, asked.room()) == (5, 2)
    asked.limit(1)
    assert asked.room() < 0
    asked.limit(1000)
    assert asked.room() == 100
    asked.limit(None)
    assert asked.room() == 100


async def test_what_somebody_has_set_wins_over_the_multiplier() -> None:
    asked = credit(Slots(size=2, free=100), multiplier=4)
    assert (asked.most, asked.room()) == (8, 8)

    asked.limit(9)
    assert (asked.most, asked.room()) == (9, 9)
