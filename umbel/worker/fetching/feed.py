"""From the worker to its pool: begin what may run at most once, and submit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from umbel import signals
from umbel.model import Delivery, Request
from umbel.protocols import Pool
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted, Ruling
from umbel.worker.fetching.credit import Credit
from umbel.worker.fetching.handover import Handover
from umbel.worker.fetching.last_attempts import LastAttempts
from umbel.worker.fetching.ownership import Ownership
from umbel.worker.fetching.postponed import Postponed
from umbel.worker.fetching.refusals import Refusals
from umbel.worker.fetching.repeats import Repeats
from umbel.worker.fleet.task_events import TaskEvents
from umbel.worker.settling.exposure import Exposure
from umbel.worker.state import State

if TYPE_CHECKING:
    from umbel.worker.steps.strategies import Strategies

__all__ = ["Feed"]


class Feed:
    """Carries out what the :class:`intake <umbel.worker.fetching.intake.Intake>` has ruled, batch
    after batch, and fills the pool."""

    def __init__(
        self,
        pool: Pool,
        handover: Handover,
        *,
        credit: Credit,
        exposure: Exposure,
        ownership: Ownership,
        refusals: Refusals,
        postponed: Postponed,
        repeats: Repeats,
        last_attempts: LastAttempts,
        events: TaskEvents,
        state: State,
    ) -> None:
        self._pool = pool
        self._handover = handover
        self._credit = credit
        self._exposure = exposure
        self._ownership = ownership
        self._refusals = refusals
        self._postponed = postponed
        self._repeats = repeats
        self._last_attempts = last_attempts
        self._events = events
        self._state = state
        self.strategies: Strategies | None = None
        """What sees to messages of some tasks instead; None: all are run."""
        self._stopping = False

    async def start(self) -> None:
        """Carry out what the intake has found, batch after batch, until :meth:`stop`."""
        while not self._stopping:
            trial = self._last_attempts.next() if self._last_attempts.waiting else None
            if trial:
                await self._submit(trial)
            elif self._handover.rulings:
                ruling = self._handover.next()
                self._credit.changed()
                await self._carry_out(ruling)
            else:
                await self._credit.wait()

    def stop(self) -> None:
        """Let :meth:`start` end with the batch it is at. The intake has ended before."""
        self._stopping = True
        self._credit.changed()

    def leftovers(self) -> list[Delivery]:
        """What has not been started, once it and the intake have ended."""
        state = self._state
        waiting = state.holding.take_all() + state.rates.take_all() + self._last_attempts.take_all()
        deliveries = [accepted.delivery for accepted in waiting]
        deliveries += [accepted.delivery for accepted, _ in self._postponed.parked]
        return deliveries + self._handover.leftovers()

    async def _carry_out(self, ruling: Ruling) -> None:
        if ruling.expired or ruling.revoked or ruling.unknown:
            self._refuse(ruling)
        # First: what runs may have to wait for a slot.
        if ruling.put_off:
            await self._postponed.put_off(ruling.put_off)
        if self._postponed.parked:
            await self._postponed.park()
        try:
            await self._run(ruling)
        finally:
            self._handover.arrived()
            self._credit.changed()

    async def _run(self, ruling: Ruling) -> None:
        run = ruling.run
        if not run:
            return
        run = await self._repeats.leave_out(run)
        begin = ruling.begin
        if self.strategies is not None:
            run = await self.strategies.divert(run)
            ours = {accepted.delivery.tag for accepted in run}
            begin = [delivery for delivery in begin if delivery.tag in ours]
        reports.received(run)
        if signals.task_received.receivers:
            reports.announce(run, sender=self)
        if self._events.sender.tell:
            self._events.received(run)
        if begin:
            run = await self._ownership.begin(run, begin)
        run = self._last_attempts.set_apart(self._ownership.known(run))
        if self._last_attempts.waiting and self._last_attempts.wait:
            asyncio.get_running_loop().call_later(self._last_attempts.wait, self._credit.changed)
        await self._submit(run)

    async def _submit(self, run: list[Accepted]) -> None:
        active, totals, handover = self._state.active, self._state.totals, self._handover
        self._state.busy.set()
        handover.offer(run)
        while handover.in_hand:
            free = self._pool.free
            run = handover.in_hand = self._without_revoked(handover.in_hand)
            if self._stopping:
                return
            count = self._exposure.admits(run, free)
            if count <= 0:
                # The pool adapts: it takes fewer at a time once tasks turn out to be long.
                await self._credit.wait_for_room()
                continue
            now = await self._ownership.start(handover.take(count))
            self._exposure.started(now)
            for accepted in now:
                name = accepted.request.task
                active[accepted.request.key] = accepted
                totals[name] = totals.get(name, 0) + 1
            handover.arrived()
            tell = self._events.sender.tell
            await self._pool.submit([_as_it_runs(accepted, tell) for accepted in now])

    def _without_revoked(self, run: list[Accepted]) -> list[Accepted]:
        """Leave out what was revoked while it waited here."""
        revocations = self._state.revocations
        if not revocations.version:
            return run
        revoked = [accepted for accepted in run if revocations.find(accepted.request)]
        if not revoked:
            return run
        self._refusals.revoked(revoked)
        return [accepted for accepted in run if accepted not in revoked]

    def _refuse(self, ruling: Ruling) -> None:
        self._refusals.expired(ruling.expired)
        self._refusals.revoked(ruling.revoked)
        for request, delivery in ruling.unknown:
            self._refusals.unknown(request, delivery)


def _as_it_runs(accepted: Accepted, tell: int) -> Request:
    """The request, with the task's time limits where the message sets none.

    Args:
        tell: How its outcome is to be told of; see :attr:`Request.tell`.
    """
    request, options = accepted.request, accepted.options
    # 0 is no limit, as in Celery.
    hard = request.time_limit or options.time_limit or None
    soft = request.soft_time_limit or options.soft_time_limit or None
    limited = hard is not request.time_limit or soft is not request.soft_time_limit
    if not limited and tell == request.tell:
        return request
    return msgspec.structs.replace(request, time_limit=hard, soft_time_limit=soft, tell=tell)
