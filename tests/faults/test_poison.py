"""Tasks that kill what runs them: each is tried three times at most, and the others go on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from umbel.exceptions import WorkerLostError

from .lives import POISONS
from .site import Fleet, Site

GOOD = int(os.environ.get("UMBEL_GOOD", "60"))

LONG = pytest.mark.skipif(
    not os.environ.get("UMBEL_LONG_TESTS"), reason="takes half a minute: set UMBEL_LONG_TESTS=1"
)

pytestmark = pytest.mark.alone


@pytest.fixture
def fleet(site: Site) -> Iterator[Fleet]:
    fleet = Fleet(site)
    yield fleet
    fleet.kill()


@pytest.mark.parametrize(
    "site",
    ["sqlite", "redis", pytest.param("rabbitmq", marks=LONG)],
    indirect=True,
)
def test_poison_is_given_up_after_three_attempts_and_touches_nothing_else(
    site: Site, fleet: Fleet
) -> None:
    half = GOOD // 2
    good = site.send("late", range(half), 0.02)
    bad = [
        site.send(name, range(1000 + place, 1001 + place))[0] for place, name in enumerate(POISONS)
    ]
    good += site.send("late", range(half, GOOD), 0.02)

    fleet.until(lambda: all(each.ready() for each in (*good, *bad)), 90, "everything has ended")

    assert [each.get(timeout=1) for each in good] == list(range(GOOD))
    starts = site.ledger.count("start")
    # One that was merely near to a worker's first death has an attempt less.
    assert all(1 <= starts[number] <= 3 for number in range(1000, 1006)), starts
    for each in bad:
        with pytest.raises(WorkerLostError, match="given up after 3 attempts"):
            each.get(timeout=1)
    # A message is given up when its result is stored: a moment later.
    fleet.until(lambda: len(site.app.dead_letters.latest()) >= len(bad), 60, "all are given up")
    letters = {each.message.id: each for each in site.app.dead_letters.latest()}
    assert letters.keys() == {each.id for each in bad}
    assert all("given up after 3 attempts" in each.reason for each in letters.values())
    assert 1 <= fleet.restarts <= 3
    assert set(fleet.stop()) == {0}
