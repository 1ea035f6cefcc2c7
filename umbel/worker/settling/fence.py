"""Who has a message now has the last word on its task."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.model import Settlement
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience

__all__ = ["Fence"]


class Fence:
    """Lets pass what nobody else has taken over: neither while this process stood still, nor while
    a server was away."""

    def __init__(self, leases: Leases, patience: Patience) -> None:
        self._leases = leases
        self._insist = patience

    async def __call__(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Those of ``settlements`` whose messages are still ours, as far as the broker knows."""
        leases = self._leases
        if leases.are_doubtful:
            await self._insist(leases.verify)
        return self._without_lost(settlements) if leases.any_lost else settlements

    def _without_lost(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        leases = self._leases
        lost = [
            settlement.delivery
            for settlement in settlements
            if settlement.delivery is not None and leases.is_lost(settlement.delivery)
        ]
        if not lost:
            return settlements
        tags = {delivery.tag for delivery in lost}
        leases.forget(lost)
        return [
            settlement
            for settlement in settlements
            if settlement.delivery is None or settlement.delivery.tag not in tags
        ]
