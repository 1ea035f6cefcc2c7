"""Whose a message is at the moment its task would start."""

from __future__ import annotations

from umbel.model import Delivery
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.source import Source
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience

__all__ = ["Ownership"]


class Ownership:
    """Leaves out what others have by now; each of its questions is asked of a whole batch."""

    def __init__(self, source: Source, leases: Leases, patience: Patience) -> None:
        self._broker = source.broker
        self._has_leases = source.broker.capabilities.lease is not None
        self._leases = leases
        self._insist = patience

    async def begin(self, run: list[Accepted], deliveries: list[Delivery]) -> list[Accepted]:
        """Let tasks that may run at most once be nobody else's work; returns what may run."""
        lost = await self._insist(self._broker.begin, deliveries)
        if not lost:
            return run
        self._leases.release(lost)
        tags = {delivery.tag for delivery in lost}
        reports.lost_before_start(lost)
        return [accepted for accepted in run if accepted.delivery.tag not in tags]

    def known(self, run: list[Accepted]) -> list[Accepted]:
        """What is still ours, as far as is known already."""
        leases = self._leases
        if not leases.any_lost:
            return run
        return [accepted for accepted in run if not leases.is_lost(accepted.delivery)]

    async def start(self, now: list[Accepted]) -> list[Accepted]:
        """What is still ours and starts now; and it counts if what came back from a dead worker
        kills this one."""
        leases = self._leases
        if leases.are_doubtful:
            await self._insist(leases.verify)
        if leases.any_lost:
            now = self.known(now)
        if self._has_leases:
            suspects = [each.delivery for each in now if each.delivery.attempt > 1]
        else:
            # Such a broker knows that someone had them before, not what became of him.
            suspects = [each.delivery for each in now if each.delivery.redelivered]
        if not suspects:
            return now
        lost = await self._insist(self._broker.start, suspects)
        tags = {delivery.tag for delivery in lost}
        return [accepted for accepted in now if accepted.delivery.tag not in tags]
