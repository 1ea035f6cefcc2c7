"""From the broker to the worker: receive, understand, admit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

from umbel.exceptions import DecodeError, InvalidTaskError, SecurityError
from umbel.model import Delivery, Request
from umbel.protocols import Clock
from umbel.wire import tasks as wire
from umbel.worker.fetching.admission import admit
from umbel.worker.fetching.credit import Credit
from umbel.worker.fetching.handover import Handover
from umbel.worker.fetching.known import KnownTasks
from umbel.worker.fetching.postponed import Postponed
from umbel.worker.fetching.refusals import Refusals
from umbel.worker.fetching.source import Source
from umbel.worker.fleet.task_events import TaskEvents
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience
from umbel.worker.state import State

__all__ = ["Intake"]

_WAIT = 5.0
"""Seconds one ``receive`` waits for a first message before it is asked again."""


class Intake:
    """Gets batch after batch and sorts it: what may run is handed over to the :class:`feed
    <umbel.worker.fetching.feed.Feed>`, so that the round trips of one batch hide behind the
    other."""

    def __init__(
        self,
        source: Source,
        known: KnownTasks,
        handover: Handover,
        *,
        credit: Credit,
        leases: Leases,
        refusals: Refusals,
        postponed: Postponed,
        events: TaskEvents,
        state: State,
        patience: Patience,
        max_deliveries: int | None,
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            handover: Where what was received waits for the pool; shared with the credit, which
                counts it.
            max_deliveries: How often what kills its workers is tried; None: without end.
        """
        self._source = source
        self._known = known
        self._handover = handover
        self._credit = credit
        self._leases = leases
        self._refusals = refusals
        self._postponed = postponed
        self._events = events
        self._state = state
        self._insist = patience
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._capabilities = source.broker.capabilities
        # What does not run is not to fill the memory here either.
        self._reaches = credit.prefetch and self._capabilities.delay
        # How many to receive at least: more than there is room for while none of it may run.
        self._reach = 0
        self.keys = count(1)
        """Those of requests, each used once."""
        self._receiving: asyncio.Task[Any] | None = None
        # How much room there was when it began to receive.
        self._asked = 0
        self._nudged = False

    async def receive(self) -> None:
        """Receive and sort, batch after batch, until cancelled."""
        while True:
            while self._handover.rulings:
                await self._credit.wait()
            room = self._credit.worth_asking()
            if not room:
                self._state.pulse.sated()
                room = await self._credit.available()
            room = min(room, self._capabilities.batch_limit)
            self._asked = room
            turns = self._state.rates.take(room) if self._state.rates.any else None
            if turns:
                self._hand_over([(each.request, each.delivery) for each in turns], limit=False)
                continue
            arrived = await self._arrivals(max(room, self._reach))
            if arrived:
                any_runs = self._hand_over(arrived)
                self._reach = (
                    0 if any_runs or not self._reaches else _further(max(self._reach, len(arrived)))
                )

    def nudge(self) -> None:
        """Look again at once at what there is to receive, and how much."""
        if self._receiving is not None and not self._nudged:
            self._nudged = True
            self._receiving.cancel()
        self._credit.changed()

    def retract(self) -> None:
        """Ask the broker for no more than there is room for now."""
        if self._receiving is not None and self._asked > self._credit.room():
            self.nudge()

    @property
    def is_receiving(self) -> bool:
        """Whether it asks the broker for messages right now, and goes on with that."""
        return self._receiving is not None and not self._nudged

    async def _arrivals(self, room: int) -> list[tuple[Request, Delivery]]:
        holding = self._state.holding
        wait = min(_WAIT, self._state.rates.next_turn()) if self._state.rates.any else _WAIT
        if holding:
            now = self._clock.time()
            due = holding.take_due(now, room)
            if due:
                return [(accepted.request, accepted.delivery) for accepted in due]
            wait = min(wait, holding.next_due - now)
            if holding.is_full:
                self._state.pulse.sated()
                await self._clock.sleep(wait)
                return []
        return self._understand(await self._receive(room, wait))

    async def _receive(self, room: int, wait: float) -> list[Delivery]:
        """Receive, unless something changes meanwhile that makes it worth asking again."""
        task = asyncio.current_task()
        assert task is not None, "runs in the receiving task"
        self._receiving = task
        pulse = self._state.pulse
        pulse.asking(wait)
        try:
            if not self._source.queues:
                await self._clock.sleep(wait)
                return []
            deliveries = await self._insist(
                self._source.broker.receive, self._source.queues, limit=room, wait=wait
            )
        except asyncio.CancelledError:
            if not self._nudged or task.uncancel() > 0:
                raise
            return []
        else:
            pulse.answered(len(deliveries))
            return deliveries
        finally:
            self._receiving = None
            self._nudged = False
            pulse.interrupted()

    def _understand(self, deliveries: Sequence[Delivery]) -> list[tuple[Request, Delivery]]:
        """Read what can be read; what cannot be is reported, and dropped (dead-lettered)."""
        understood: list[tuple[Request, Delivery]] = []
        source = self._source
        decode, keys, accept, limit = wire.decode, self.keys, source.accept, source.limit
        tell = self._events.sender.tell
        self._state.rivals.look(deliveries)
        for delivery in deliveries:
            try:
                request = decode(delivery, key=next(keys), accept=accept, limit=limit, tell=tell)
            except (InvalidTaskError, DecodeError, SecurityError) as error:
                self._refusals.unreadable(delivery, error)
            else:
                understood.append((request, delivery))
        return understood

    def _hand_over(
        self, arrived: Sequence[tuple[Request, Delivery]], *, limit: bool = True
    ) -> bool:
        """Sort them, and let the feed do the rest; returns whether any of them may run."""
        rates = self._state.rates
        ruling = admit(
            arrived,
            self._known.of(arrived),
            now=self._source.time(),
            broker_delays=self._capabilities.delay,
            revocations=self._state.revocations,
            max_deliveries=self._max_deliveries,
            is_limited=rates.limits if limit and rates.any else None,
        )
        if ruling.limited:
            self._postponed.limit(ruling.limited)
        self._leases.hold([accepted.delivery for accepted in ruling.run])
        if ruling.spent:
            self._leases.hold([accepted.delivery for accepted in ruling.spent])
            self._refusals.spent(ruling.spent)
        if ruling.orphaned:
            self._leases.hold([delivery for _, delivery in ruling.orphaned])
            self._refusals.orphaned(ruling.orphaned)
        if ruling.hold:
            # Here and not in the feed: the next receive must wait no longer than these.
            self._leases.hold(accepted.delivery for accepted in ruling.hold)
            self._state.holding.add(ruling.hold)
        self._handover.rulings.append(ruling)
        self._credit.changed()
        return bool(ruling.run)


def _further(count: int) -> int:
    """How many to receive after ``count`` were asked for, and none that came could run: they may
    have thousands like them behind them, and behind those something that can.

    >>> _further(1), _further(300)
    (8, 500)
    """
    return min(500, max(8, 2 * count))
