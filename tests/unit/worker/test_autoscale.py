"""How many processes there should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.model import Message, Outcome, Request
from umbel.protocols import Running
from umbel.worker import autoscale
from umbel.worker.autoscale import Autoscaler
from umbel.worker.options import resolve
from umbel.worker.pools.scaling import ScaledPool


class Slots:
    """A pool that only has a size, and as much room as slots without a request."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.submitted: list[Request] = []

    @property
    def free(self) -> int:
        return max(0, self.size - len(self.submitted))

    def prepare(self) -> None: ...

    async def start(self) -> None: ...

    async def submit(self, requests: Sequence[Request]) -> None:
        self.submitted += requests

    async def outcomes(self) -> list[Outcome]:
        return []

    def running(self) -> list[Running]:
        return []

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        return []

    def watch(self, changed: Callable[[], None]) -> None: ...

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None: ...

    async def resize(self, size: int) -> None:
        self.size = size

    async def restart(self) -> None: ...

    async def stop(self, *, grace: float) -> list[Request]:
        return []


class Measured(Autoscaler):
    """One that takes its count from the pool, since it has no worker."""

    @property
    def qty(self) -> int:
        assert isinstance(self.pool, Slots)
        return len(self.pool.submitted) + self.coming

    coming = 0


def request(key: int) -> Request:
    return Request(key=key, id=str(key), task="t", message=Message(id=str(key), body=b""))


async def test_a_pool_has_the_room_that_it_may_grow_to_and_grows_when_it_is_used() -> None:
    slots = Slots(1)
    scaler = Measured(slots, 4, 1)
    pool = ScaledPool(slots, scaler)
    assert (pool.size, pool.free) == (4, 4)

    scaler.coming = 3
    await pool.submit([request(key) for key in range(3)])
    scaler.coming = 0

    assert slots.size == 3
    assert (pool.size, pool.free) == (4, 1)


async def test_it_never_grows_beyond_its_range() -> None:
    slots = Slots(1)
    scaler = Measured(slots, 2, 1)
    slots.submitted = [request(key) for key in range(9)]

    scaler.maybe_scale()
    await scaler.apply()

    assert slots.size == 2


async def test_it_shrinks_only_when_nothing_has_come_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(autoscale._CLOCK, "monotonic", lambda: now[0], raising=False)
    slots = Slots(1)
    scaler = Measured(slots, 5, 1, keepalive=30)
    slots.submitted = [request(key) for key in range(5)]
    scaler.maybe_scale(slots.submitted[0])
    await scaler.apply()
    slots.submitted.clear()

    now[0] += 29
    scaler.maybe_scale()
    await scaler.apply()
    before = slots.size
    now[0] += 2
    scaler.maybe_scale()
    await scaler.apply()

    assert (before, slots.size) == (5, 1)


async def test_changing_the_range_takes_effect_at_once() -> None:
    slots = Slots(3)
    scaler = Measured(slots, 5, 1)

    assert scaler.update(max=2) == (2, 1)
    await scaler.apply()
    assert slots.size == 2
    with pytest.raises(ValueError, match="between 5 and 2"):
        scaler.update(min=5)
    assert scaler.info() == {"max": 2, "min": 1, "current": 2, "qty": 0}


@pytest.mark.parametrize("given", ["3,10", "many", "1,2,3", "0", "-1"])
def test_a_range_that_is_none_is_refused(given: str) -> None:
    from umbel import Umbel

    app = Umbel("shop", broker="memory://", set_as_current=False)

    with pytest.raises(ImproperlyConfigured, match="as in 10,3"):
        resolve({"autoscale": given}, app.conf)
