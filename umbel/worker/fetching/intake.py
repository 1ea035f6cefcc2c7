"""From the broker to the pool: receive, understand, admit, begin, submit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import msgspec

from umbel import signals
from umbel.exceptions import DecodeError, InvalidTaskError, NotRegistered, SecurityError
from umbel.model import Delivery, Request
from umbel.protocols import Clock, Pool, TellsTime
from umbel.wire import tasks as wire
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted, Ruling, admit
from umbel.worker.fetching.credit import Credit
from umbel.worker.fetching.handover import Handover
from umbel.worker.fetching.known import KnownTasks
from umbel.worker.fetching.last_attempts import LastAttempts
from umbel.worker.fetching.repeats import Repeats
from umbel.worker.fetching.source import Source
from umbel.worker.fleet.task_events import TaskEvents
from umbel.worker.settling.conclusion import Conclusions
from umbel.worker.settling.exposure import Exposure
from umbel.worker.settling.finish import Finish
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience
from umbel.worker.state import State

if TYPE_CHECKING:
    from umbel.worker.steps.strategies import Strategies

__all__ = ["Intake"]

_WAIT = 5.0
"""Seconds one ``receive`` waits for a first message before it is asked again."""


class Intake:
    """Feeds the pool. Two loops, so that the round trips of one batch hide behind the other:
    :meth:`receive` gets the next batch while :meth:`start` begins and submits this one."""

    def __init__(
        self,
        source: Source,
        pool: Pool,
        known: KnownTasks,
        *,
        clock: Clock,
        credit: Credit,
        handover: Handover,
        leases: Leases,
        exposure: Exposure,
        finish: Finish,
        conclusions: Conclusions,
        events: TaskEvents,
        state: State,
        patience: Patience,
        prefetch: bool,
        repeats: Repeats,
        max_deliveries: int | None,
    ) -> None:
        """Make one.

        Args:
            handover: Where what was received waits for the pool; shared with the credit, which
                counts it.
            max_deliveries: How often what kills its workers is tried; None: without end.
        """
        self._source = source
        self._pool = pool
        self._known = known
        self._clock = clock
        self._credit = credit
        self._handover = handover
        self._leases = leases
        self._exposure = exposure
        self._finish = finish
        self._conclusions = conclusions
        self._events = events
        self._state = state
        self._insist = patience
        self._repeats = repeats
        # What does not run is not to fill the memory here either.
        self._capabilities = source.broker.capabilities
        self._tells_time = source.broker if isinstance(source.broker, TellsTime) else None
        self._reaches = prefetch and self._capabilities.delay
        self._max_deliveries = max_deliveries
        self._last_attempts = LastAttempts(max_deliveries, state.active, clock)
        self.keys = count(1)
        """Those of requests, each used once."""
        self.strategies: Strategies | None = None
        """What sees to messages of some tasks instead; None: all are run."""
        # How many to receive at least: more than there is room for while none of it may run.
        self._reach = 0
        self._parked: list[tuple[Accepted, float]] = []
        self._receiving: asyncio.Task[Any] | None = None
        # How much room there was when it began to receive.
        self._asked = 0
        self._nudged = False
        self._stopping = False

    async def receive(self) -> None:
        """Receive and sort, batch after batch, until cancelled."""
        while True:
            while self._handover.rulings:
                await self._credit.wait()
            if not self._credit.is_worth_asking:
                self._state.pulse.sated()
            room = min(await self._credit.available(), self._capabilities.batch_limit)
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

    async def start(self) -> None:
        """Carry out what :meth:`receive` found, batch after batch, until :meth:`stop`."""
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
        """Let :meth:`start` end with the batch it is at. :meth:`receive` is cancelled before."""
        self._stopping = True
        self._credit.changed()

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

    def leftovers(self) -> list[Delivery]:
        """What has not been started, once both loops have ended."""
        state = self._state
        waiting = state.holding.take_all() + state.rates.take_all() + self._last_attempts.take_all()
        deliveries = [accepted.delivery for accepted in waiting]
        deliveries += [accepted.delivery for accepted, _ in self._parked]
        return deliveries + self._handover.leftovers()

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
            if delivery.defect is not None:
                self._drop(delivery, delivery.defect)
                continue
            try:
                request = decode(delivery, key=next(keys), accept=accept, limit=limit, tell=tell)
            except (InvalidTaskError, DecodeError, SecurityError) as error:
                self._drop(delivery, str(error))
            else:
                understood.append((request, delivery))
        return understood

    def _drop(self, delivery: Delivery, reason: str) -> None:
        reports.malformed(delivery, reason)
        if signals.task_rejected.receivers:
            signals.task_rejected.send(
                sender=self, message=delivery.message, exc=InvalidTaskError(reason)
            )
        self._finish.enter([self._conclusions.malformed(delivery, reason)])

    def _hand_over(
        self, arrived: Sequence[tuple[Request, Delivery]], *, limit: bool = True
    ) -> bool:
        """Sort them, and let :meth:`start` do the rest; returns whether any of them may run."""
        rates = self._state.rates
        ruling = admit(
            arrived,
            self._known.of(arrived),
            now=self._time(),
            broker_delays=self._capabilities.delay,
            revocations=self._state.revocations,
            max_deliveries=self._max_deliveries,
            is_limited=rates.limits if limit and rates.any else None,
        )
        if ruling.limited:
            self._limit(ruling.limited)
        self._leases.hold([accepted.delivery for accepted in ruling.run])
        if ruling.spent:
            self._leases.hold([accepted.delivery for accepted in ruling.spent])
            self._finish.enter([self._conclusions.spent(accepted) for accepted in ruling.spent])
        if ruling.orphaned:
            self._leases.hold([delivery for _, delivery in ruling.orphaned])
            self._report_lost(ruling)
        if ruling.hold:
            # Here and not in start: the next receive must wait no longer than these.
            self._leases.hold(accepted.delivery for accepted in ruling.hold)
            self._state.holding.add(ruling.hold)
        self._handover.rulings.append(ruling)
        self._credit.changed()
        return bool(ruling.run)

    async def _carry_out(self, ruling: Ruling) -> None:
        if ruling.expired or ruling.revoked or ruling.unknown:
            self._refuse(ruling)
        # First: what runs may have to wait for a slot.
        if ruling.put_off:
            await self._put_off(ruling.put_off)
        if self._parked:
            await self._park()
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
            run = await self._begin(run, begin)
        if self._leases.any_lost:
            run = [accepted for accepted in run if not self._leases.is_lost(accepted.delivery)]
        if self._max_deliveries is not None:
            run = self._last_attempts.set_apart(run)
        if self._last_attempts.waiting and self._last_attempts.wait:
            asyncio.get_running_loop().call_later(self._last_attempts.wait, self._credit.changed)
        await self._submit(run)

    async def _begin(self, run: list[Accepted], deliveries: list[Delivery]) -> list[Accepted]:
        """Let tasks that may run at most once be nobody else's work; returns what may run."""
        lost = await self._insist(self._source.broker.begin, deliveries)
        if not lost:
            return run
        self._leases.release(lost)
        tags = {delivery.tag for delivery in lost}
        reports.lost_before_start(lost)
        return [accepted for accepted in run if accepted.delivery.tag not in tags]

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
            now = await self._still_ours(handover.take(count))
            self._exposure.started(now)
            for accepted in now:
                name = accepted.request.task
                active[accepted.request.key] = accepted
                totals[name] = totals.get(name, 0) + 1
            handover.arrived()
            tell = self._events.sender.tell
            await self._pool.submit([_as_it_runs(accepted, tell) for accepted in now])

    async def _still_ours(self, now: list[Accepted]) -> list[Accepted]:
        """Leave out what others have by now, and let it count if what came back from a dead
        worker kills this one."""
        leases = self._leases
        if leases.are_doubtful:
            await self._insist(leases.verify)
        if leases.any_lost:
            now = [accepted for accepted in now if not leases.is_lost(accepted.delivery)]
        suspects = [each.delivery for each in now if each.delivery.attempt > 1]
        if self._source.broker.capabilities.lease is None:
            # Such a broker knows that someone had them before, not what became of him.
            suspects = [each.delivery for each in now if each.delivery.redelivered]
        if not suspects:
            return now
        lost = await self._insist(self._source.broker.start, suspects)
        tags = {delivery.tag for delivery in lost}
        return [accepted for accepted in now if accepted.delivery.tag not in tags]

    def _without_revoked(self, run: list[Accepted]) -> list[Accepted]:
        """Leave out what was revoked while it waited here."""
        revocations = self._state.revocations
        if not revocations.version:
            return run
        revoked = [accepted for accepted in run if revocations.find(accepted.request)]
        if not revoked:
            return run
        self._discard(revoked)
        return [accepted for accepted in run if accepted not in revoked]

    def _refuse(self, ruling: Ruling) -> None:
        for accepted in ruling.expired:
            reports.expired(accepted, self._known.task(accepted.request.task))
        self._finish.enter([self._conclusions.expired(accepted) for accepted in ruling.expired])
        self._discard(ruling.revoked)
        for request, delivery in ruling.unknown:
            reports.unknown(request)
            if signals.task_unknown.receivers:
                signals.task_unknown.send(
                    sender=self,
                    message=request.message,
                    exc=NotRegistered(request.task),
                    name=request.task,
                    id=request.id,
                )
            self._finish.enter([self._conclusions.unknown(request, delivery)])

    def _discard(self, revoked: Sequence[Accepted]) -> None:
        find = self._state.revocations.find
        for accepted in revoked:
            task = self._known.task(accepted.request.task)
            reports.revoked(accepted, task, find(accepted.request))
        self._finish.enter([self._conclusions.revoked(accepted) for accepted in revoked])

    def _limit(self, limited: Sequence[Accepted]) -> None:
        """Let them wait for their turn: a few here, the others in the broker."""
        rates, broker_delays = self._state.rates, self._capabilities.delay
        for accepted in limited:
            seconds = rates.offer(accepted)
            if seconds is not None and broker_delays:
                self._parked.append((accepted, seconds))
                continue
            if seconds is not None:
                rates.keep(accepted)
            self._leases.hold((accepted.delivery,))

    async def _park(self) -> None:
        parked, self._parked = self._parked, []
        deliveries_by_delay: dict[float, list[Delivery]] = {}
        for accepted, seconds in parked:
            # A few calls for all of them; a little late is what the line here is for.
            delay = ceil(seconds * 4) / 4
            deliveries_by_delay.setdefault(delay, []).append(accepted.delivery)
        for delay, deliveries in deliveries_by_delay.items():
            await self._insist(self._source.broker.nack, deliveries, requeue=True, delay=delay)

    def _report_lost(self, ruling: Ruling) -> None:
        """Say for workers that died what became of the tasks they had begun."""
        conclusions, options = self._conclusions, self._known.of(ruling.orphaned)
        self._finish.enter(
            [
                conclusions.orphaned(request, delivery, options.get(request.task))
                for request, delivery in ruling.orphaned
            ]
        )

    def _time(self) -> float:
        """By which tasks are due and expire: the broker's own, where it has one."""
        broker = self._tells_time
        return self._clock.time() + (broker.skew if broker is not None else 0.0)

    async def _put_off(self, early: Sequence[Accepted]) -> None:
        now = self._time()
        deliveries_by_delay: dict[float, list[Delivery]] = {}
        for accepted in early:
            delay = _delay((accepted.request.eta or now) - now)
            deliveries_by_delay.setdefault(delay, []).append(accepted.delivery)
        for delay, deliveries in deliveries_by_delay.items():
            await self._insist(self._source.broker.nack, deliveries, requeue=True, delay=delay)


def _further(count: int) -> int:
    """How many to receive after ``count`` were asked for, and none that came could run: they may
    have thousands like them behind them, and behind those something that can.

    >>> _further(1), _further(300)
    (8, 500)
    """
    return min(500, max(8, 2 * count))


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
