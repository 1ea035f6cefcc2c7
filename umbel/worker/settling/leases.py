"""Holding on to messages for as long as they take."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from umbel.exceptions import BrokerUnavailable
from umbel.model import Delivery
from umbel.protocols import Broker, Clock
from umbel.worker.settling.batches import in_batches

__all__ = ["Leases"]

logger = logging.getLogger(__name__)

OnLost: TypeAlias = Callable[[Sequence[Delivery]], Awaitable[None]]

_LOOK = 1.0
"""Seconds between two looks at what a lost connection has taken along."""


class Leases:
    """Renews the leases of everything the worker has and has not acknowledged.

    A lease that was lost all the same is reported once; whatever comes of that message here has
    no effect (:meth:`is_lost`), because someone else has it now.
    """

    def __init__(self, broker: Broker, clock: Clock, on_lost: OnLost | None = None) -> None:
        """Make one.

        Args:
            on_lost: Told of the deliveries that others have by now, as soon as that is known;
                None: nobody needs to know before their tasks end.
        """
        self._broker = broker
        self._clock = clock
        self._on_lost = on_lost
        self._held_by_tag: dict[str, Delivery] = {}
        self._settling_tags: set[str] = set()
        self._lost_tags: set[str] = set()
        self.any_lost = False
        """Whether :meth:`is_lost` is worth asking."""
        self._lease = broker.capabilities.lease
        self._renewed_at = self._now()

    def __len__(self) -> int:
        return len(self._held_by_tag)

    @property
    def are_doubtful(self) -> bool:
        """Whether leases may be lost without our knowing: this process stood still, the machine
        slept, or the broker could not be reached. Where leases last as long as the connection,
        it costs nothing to ask."""
        lease = self._lease
        if lease is None:
            return True
        monotonic, wall = self._renewed_at
        clock, most = self._clock, lease * 0.9
        # The monotonic clock stands still while the machine sleeps, the other one may be set.
        return clock.monotonic() - monotonic > most or clock.time() - wall > most

    async def verify(self) -> None:
        """Find out what is lost.

        Raises:
            BrokerUnavailable: Nothing is known.
        """
        await self._renew(self._lease or 0.0)

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Renew these from now on."""
        held = self._held_by_tag
        for delivery in deliveries:
            held[delivery.tag] = delivery

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Renew these no more: they are settled, or given back."""
        held = self._held_by_tag
        for delivery in deliveries:
            held.pop(delivery.tag, None)

    @contextmanager
    def settling(self, deliveries: Sequence[Delivery]) -> Generator[None]:
        """While these are settled, which may take long when a server is away, they are renewed;
        what was lost is for the settlement to say. Released in the end."""
        tags = {delivery.tag for delivery in deliveries}
        self._settling_tags |= tags
        try:
            yield
        finally:
            self._settling_tags -= tags
            self.release(deliveries)

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether someone else has the message by now."""
        return delivery.tag in self._lost_tags

    def forget(self, deliveries: Iterable[Delivery]) -> None:
        """Nothing here refers to these lost ones any more."""
        self._lost_tags.difference_update(delivery.tag for delivery in deliveries)
        self.any_lost = bool(self._lost_tags)

    async def run(self) -> None:
        """Renew three times per lease, for ever. Where leases last as long as the connection,
        see every second whether it has, if anybody wants to know; else end at once."""
        lease = self._broker.capabilities.lease
        if lease is None and self._on_lost is None:
            return
        while True:
            await self._clock.sleep(_LOOK if lease is None else lease / 3)
            await self.renew(lease or 0.0)

    async def renew(self, lease: float) -> None:
        """Hold on to everything for ``lease`` seconds from now."""
        try:
            await self._renew(lease)
        except BrokerUnavailable as error:
            # Two more rounds fit into a lease; a lost one is noticed when the broker is back.
            logger.warning("Could not renew %d leases: %s", len(self._held_by_tag), error)

    async def _renew(self, lease: float) -> None:
        began = self._now()
        for batch in in_batches(
            list(self._held_by_tag.values()), self._broker.capabilities.batch_limit
        ):
            # What was settled since the list was made must not be reported as lost below.
            held = [delivery for delivery in batch if delivery.tag in self._held_by_tag]
            lost = await self._broker.extend(held, lease=lease)
            gone = [
                each
                for each in lost
                if each.tag in self._held_by_tag and each.tag not in self._settling_tags
            ]
            self._lose(gone)
            if gone and self._on_lost is not None:
                await self._on_lost(gone)
        self._renewed_at = began

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _lose(self, lost: list[Delivery]) -> None:
        if not lost:
            return
        self.release(lost)
        self._lost_tags.update(delivery.tag for delivery in lost)
        self.any_lost = True
        logger.warning(
            "Lost %d messages to other workers, because their leases ran out before they could "
            "be renewed. What their tasks return here is discarded: %s",
            len(lost),
            ", ".join(delivery.message.id for delivery in lost[:10]),
        )
