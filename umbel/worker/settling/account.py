"""What is settled, and what waits to be, counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from umbel.model import Delivery, Nack, Settlement

__all__ = ["Account", "Stuck"]

logger = logging.getLogger(__name__)


Stuck: TypeAlias = dict[tuple[int, int], Settlement]
"""Settlements that wait apart from the rest, each under a key of its own."""


class Account:
    """Counts what is settled, says what was settled in vain, and knows what is stuck."""

    def __init__(
        self, count: Callable[[int], None], stuck: Stuck, changed: Callable[[], None]
    ) -> None:
        """Make one.

        Args:
            count: Told how many more messages are done with for good.
            stuck: Where to put what is stuck, for who counts it.
            changed: Called when there is less of it.
        """
        self._count = count
        self._stuck = stuck
        self._changed = changed

    def set_apart(self, place: object, settlements: Iterable[Settlement]) -> None:
        """These are stuck in some place."""
        self._stuck.update(((id(place), id(each)), each) for each in settlements)

    def rejoin(self, place: object, settlements: Iterable[Settlement]) -> None:
        """These are not stuck there any more."""
        for settlement in settlements:
            self._stuck.pop((id(place), id(settlement)), None)
        self._changed()

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Delivery]) -> None:
        """These are done with; the messages of ``lost`` had gone to others by then."""
        if lost:
            logger.warning(
                "Finished %d tasks whose messages had gone to other workers meanwhile, because "
                "their leases ran out: %s",
                len(lost),
                ", ".join(delivery.message.id for delivery in lost[:10]),
            )
        # A list: a generator would be resumed, that is called, for each of them.
        again = sum([isinstance(s.verdict, Nack) and s.verdict.requeue for s in settlements])
        self._count(len(settlements) - again)
