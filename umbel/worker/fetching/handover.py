"""What was received and has not reached the pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from umbel.model import Delivery
from umbel.worker.fetching.admission import Accepted, Ruling

__all__ = ["Handover"]


class Handover:
    """The way from the broker to the pool, in order. Each request that is to run is in one place
    at a time: in a ruling that nobody has looked at yet, in what is being prepared (begun,
    claimed, verified: a round trip), or in hand, where it waits for the pool.

    How many there are is counted when somebody asks, and not kept as a number beside them.
    """

    def __init__(self) -> None:
        self.rulings: deque[Ruling] = deque()
        """What is to be carried out, the oldest first."""
        self.preparing: Sequence[Accepted] = ()
        """What must be left alone until its round trip is over."""
        self.in_hand: list[Accepted] = []
        """What waits for the pool to take it."""

    def __len__(self) -> int:
        count = len(self.preparing) + len(self.in_hand)
        for ruling in self.rulings:
            count += len(ruling.run)
        return count

    def __iter__(self) -> Iterator[Accepted]:
        yield from self.preparing
        yield from self.in_hand
        for ruling in self.rulings:
            yield from ruling.run

    def next(self) -> Ruling:
        """Hand over the oldest ruling; what runs of it is being prepared from now on."""
        ruling = self.rulings.popleft()
        self.preparing = ruling.run
        return ruling

    def offer(self, run: Sequence[Accepted]) -> None:
        """It is prepared, and waits for the pool."""
        self.preparing = ()
        self.in_hand = list(run)

    def take(self, count: int) -> list[Accepted]:
        """Hand over the first ``count`` of what is in hand; they are being prepared until they
        have reached the pool, and somebody says so: :meth:`arrived`."""
        taken, self.in_hand = self.in_hand[:count], self.in_hand[count:]
        self.preparing = taken
        return taken

    def arrived(self) -> None:
        """What was being prepared has reached the pool, or will not."""
        self.preparing = ()

    def surrender(self) -> list[Accepted]:
        """Hand over what is not being prepared; it is not started any more."""
        surrendered, self.in_hand = self.in_hand, []
        for ruling in self.rulings:
            surrendered += ruling.run
            ruling.run.clear()
            ruling.begin.clear()
        return surrendered

    def leftovers(self) -> list[Delivery]:
        """Hand over everything that has not been looked at, or waits, whatever it was to be."""
        deliveries = [accepted.delivery for accepted in self.in_hand]
        for ruling in self.rulings:
            deliveries += [
                accepted.delivery
                for accepted in (
                    *ruling.run,
                    *ruling.put_off,
                    *ruling.spent,
                    *ruling.expired,
                    *ruling.revoked,
                )
            ]
            deliveries += [delivery for _, delivery in ruling.unknown]
        self.in_hand = []
        self.rulings.clear()
        return deliveries
