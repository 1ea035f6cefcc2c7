"""What may run, but not yet."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from umbel.model import Delivery
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.ratelimit import RateLimits
from umbel.worker.fetching.source import Source
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience

__all__ = ["Postponed"]


class Postponed:
    """Goes back to the broker until its time has come, where the broker can wait; of what a rate
    limit keeps back, a few stand in line here."""

    def __init__(
        self, source: Source, rates: RateLimits, leases: Leases, patience: Patience
    ) -> None:
        self._source = source
        self._rates = rates
        self._leases = leases
        self._insist = patience
        self._broker_delays = source.broker.capabilities.delay
        self.parked: list[tuple[Accepted, float]] = []
        """What :meth:`park` is to give back, with the seconds until its turn."""

    def limit(self, limited: Sequence[Accepted]) -> None:
        """Let them wait for their turn: a few here, the others in the broker (:meth:`park`)."""
        for accepted in limited:
            seconds = self._rates.offer(accepted)
            if seconds is not None and self._broker_delays:
                self.parked.append((accepted, seconds))
                continue
            if seconds is not None:
                self._rates.keep(accepted)
            self._leases.hold((accepted.delivery,))

    async def park(self) -> None:
        """Give back what :meth:`limit` has found no place for."""
        parked, self.parked = self.parked, []
        deliveries_by_delay: dict[float, list[Delivery]] = {}
        for accepted, seconds in parked:
            # A few calls for all of them; a little late is what the line here is for.
            delay = ceil(seconds * 4) / 4
            deliveries_by_delay.setdefault(delay, []).append(accepted.delivery)
        await self._give_back(deliveries_by_delay)

    async def put_off(self, early: Sequence[Accepted]) -> None:
        """Give back what is not due yet."""
        now = self._source.time()
        deliveries_by_delay: dict[float, list[Delivery]] = {}
        for accepted in early:
            delay = _delay((accepted.request.eta or now) - now)
            deliveries_by_delay.setdefault(delay, []).append(accepted.delivery)
        await self._give_back(deliveries_by_delay)

    async def _give_back(self, deliveries_by_delay: dict[float, list[Delivery]]) -> None:
        nack = self._source.broker.nack
        for delay, deliveries in deliveries_by_delay.items():
            await self._insist(nack, deliveries, requeue=True, delay=delay)


def _delay(seconds: float) -> float:
    """How long to put a message off: in steps, so that a batch needs few calls.

    Never late by more than a hundredth of a second; far ones come back early, and are put off
    once more.

    >>> _delay(1.2345), _delay(3599.9)
    (1.24, 3570.0)
    """
    if seconds > 60:
        return floor(seconds / 30) * 30.0
    return floor(seconds * 100 + 1) / 100
