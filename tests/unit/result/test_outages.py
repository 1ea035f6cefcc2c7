"""How long who waits bears with a result backend that is away."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.exceptions import BackendClosed, BackendUnavailable
from umbel.result import outages
from umbel.result.outages import Outage


class Backend:
    """Fails as often as it is told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def load(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "there"


async def test_an_attempt_is_repeated_until_it_succeeds() -> None:
    outage = Outage()

    assert await outage.survive(Backend(*[BackendUnavailable("gone")] * 2).load) == "there"

    assert outage.error is None


@pytest.mark.parametrize("limit", [{"patience": None}, {"patience": 0.0}, {"retries": 1}])
async def test_it_is_borne_for_so_long_only(
    monkeypatch: pytest.MonkeyPatch, limit: dict[str, Any]
) -> None:
    monkeypatch.setattr(outages, "_PATIENCE", 0.0)
    backend = Backend(*[BackendUnavailable(text) for text in ("one", "two", "three")])

    with pytest.raises(BackendUnavailable, match="two"):
        await Outage(**limit).survive(backend.load)


async def test_what_was_closed_does_not_come_back() -> None:
    with pytest.raises(BackendClosed):
        await Outage().survive(Backend(BackendClosed("closed")).load)


async def test_other_errors_are_not_borne() -> None:
    with pytest.raises(ValueError, match="odd"):
        await Outage().survive(Backend(ValueError("odd")).load)
