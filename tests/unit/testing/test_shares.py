"""How tests are shared out: the places that are named exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shares import BY_BROKER, LONGEST, TEST_BY_TEST, TOGETHER

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("place", sorted({*LONGEST, *TEST_BY_TEST, *BY_BROKER, *TOGETHER}))
def test_a_place_that_is_named_is_there(place: str) -> None:
    assert (TESTS / place).exists()
