"""A short turn of ``make faults``: a few faults, small, with short leases."""

from __future__ import annotations

import pytest

from .crashes import CRASHES
from .scenarios import SCENARIOS, Scenario
from .site import Site
from .stage import Stage

pytestmark = [pytest.mark.alone, pytest.mark.timeout(170)]

SHORT = ("F2 worker killed, early", "F4 parent killed", "F8 killed as it fetches", "F29", "F41")
"""What nothing else in the suite does; the others run with ``make faults``."""
CHOSEN = [each for each in (*SCENARIOS, *CRASHES) if each.name.startswith(SHORT)]


@pytest.mark.parametrize("site", ["sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_and_everything_ends(site: Site, scenario: Scenario) -> None:
    outcome = scenario.play(Stage(site, scale=0.02))

    assert outcome.is_good, outcome
