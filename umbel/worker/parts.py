"""The parts of a running worker, built for one broker, one result backend and one pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import msgspec

from umbel.events.sender import EventSender
from umbel.execution import failures
from umbel.execution.runnable import Runnable
from umbel.model import Delivery, Request, Settlement
from umbel.protocols import Clock, Compose, KeepsRevocations, Pool, ResultBackend, Running
from umbel.wire.results import ResultCodec
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.credit import Credit
from umbel.worker.fetching.feed import Feed
from umbel.worker.fetching.handover import Handover
from umbel.worker.fetching.intake import Intake
from umbel.worker.fetching.known import KnownTasks
from umbel.worker.fetching.last_attempts import LastAttempts
from umbel.worker.fetching.ownership import Ownership
from umbel.worker.fetching.postponed import Postponed
from umbel.worker.fetching.refusals import Refusals
from umbel.worker.fetching.repeats import Repeats
from umbel.worker.fetching.source import Source
from umbel.worker.fetching.surplus import Surplus
from umbel.worker.fleet.task_events import TaskEvents
from umbel.worker.options import WorkerOptions
from umbel.worker.revoking.revoking import Revoking
from umbel.worker.revoking.statedb import StateFile
from umbel.worker.settling.account import Account, Stuck
from umbel.worker.settling.conclusion import Conclusions, FindAftermath
from umbel.worker.settling.exposure import Exposure
from umbel.worker.settling.fence import Fence
from umbel.worker.settling.finish import Finish
from umbel.worker.settling.leases import Leases
from umbel.worker.settling.patience import Patience
from umbel.worker.settling.settle import Settler
from umbel.worker.shutdown import Shutdown
from umbel.worker.state import State

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.worker.steps.calls import Calls
    from umbel.worker.steps.strategies import Strategies

__all__ = ["Foundation", "Parts"]

logger = logging.getLogger(__name__)

_GRACE = 10.0
"""Seconds that servers have to answer while it ends. All steps together take less than
orchestrators wait before they kill."""
_RELUCTANCE = 1.0
"""Seconds that cancelled tasks have to end in a cold shutdown; and a server to answer that has not
answered before."""


class Foundation(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts are built on."""

    source: Source
    backend: ResultBackend
    pool: Pool
    tasks: Mapping[str, Runnable]
    codec: ResultCodec
    compose: Compose
    events: EventSender
    aftermath_of: FindAftermath
    """What a request leaves behind whose process is gone."""
    clock: Clock
    signed_only: bool
    """Whether only signed messages are accepted."""
    options: WorkerOptions


class Parts:
    """Intake, feed, finish and leases, wired; they run side by side and end in order."""

    def __init__(self, on: Foundation, state: State) -> None:
        options = on.options
        patience = Patience(on.clock, retries=options.connect_retries)
        unsettled: list[Settlement] = []
        stuck: Stuck = {}
        self._on = on
        self._insist = patience
        self._grace = _GRACE
        self._state = state
        self._leases = Leases(
            on.source.broker, on.clock, self._end_lost if options.cancel_on_loss else None
        )
        self._events = TaskEvents(on.events, pool=on.pool, active=state.active, clock=on.clock)
        self._conclusions = Conclusions(
            on.codec,
            on.aftermath_of,
            self._events,
            max_deliveries=options.max_deliveries,
            signed_only=on.signed_only,
            clock=on.clock,
        )
        self._handover = Handover()
        self.credit = Credit(
            on.pool,
            prefetch=not options.disable_prefetch,
            multiplier=options.prefetch_multiplier,
            under_way=self._handover,
            active=state.active,
            unsettled=unsettled,
            stuck=stuck,
            unsettled_limit=options.unsettled_limit,
        )
        exposure = Exposure(lambda: on.pool.size)
        fence = Fence(self._leases, patience)
        account = Account(state.count_settled, stuck, self.credit.changed)
        self._settler = self._make_settler(fence, account)
        self._finish = Finish(
            on.pool,
            self._settler,
            self._conclusions,
            state=state,
            credit=self.credit,
            fence=fence,
            exposure=exposure,
            unsettled=unsettled,
        )
        self.known = KnownTasks(on.tasks)
        self.source = on.source
        self.revoking = self._make_revoking()
        refusals = Refusals(self.known, self._conclusions, self._finish, state.revocations)
        postponed = Postponed(on.source, state.rates, self._leases, patience)
        self._intake = self._make_intake(refusals, postponed)
        self._feed = self._make_feed(refusals, postponed, exposure)
        self._surplus = self._make_surplus()

    def _make_settler(self, fence: Fence, account: Account) -> Settler:
        on = self._on
        first, longest = on.options.store_delays
        return Settler(
            on.source.broker,
            on.backend,
            compose=on.compose,
            patience=self._insist,
            settling=self._leases.settling,
            fence=fence,
            account=account,
            failed=partial(failures.failed_unseen, codec=on.codec),
            storing=Patience(
                on.clock, first=first, longest=longest, retries=on.options.store_retries
            ),
        )

    def _make_surplus(self) -> Surplus:
        on = self._on
        return Surplus(
            on.source.broker,
            on.pool,
            handover=self._handover,
            intake=self._intake,
            finish=self._finish,
            credit=self.credit,
            state=self._state,
            give_back=self._settler.give_back,
            clock=on.clock,
        )

    def _make_revoking(self) -> Revoking:
        on, broker = self._on, self._on.source.broker
        return Revoking(
            store=broker.revocations if isinstance(broker, KeepsRevocations) else None,
            file=None if on.options.statedb is None else StateFile(on.options.statedb),
            backend=on.backend,
            codec=on.codec,
            pool=on.pool,
            known=self.known,
            state=self._state,
            conclusions=self._conclusions,
            finish=self._finish,
            clock=on.clock,
        )

    def _make_intake(self, refusals: Refusals, postponed: Postponed) -> Intake:
        on = self._on
        return Intake(
            on.source,
            self.known,
            self._handover,
            credit=self.credit,
            leases=self._leases,
            refusals=refusals,
            postponed=postponed,
            events=self._events,
            state=self._state,
            patience=self._insist,
            max_deliveries=on.options.max_deliveries,
            clock=on.clock,
        )

    def _make_feed(self, refusals: Refusals, postponed: Postponed, exposure: Exposure) -> Feed:
        on = self._on
        return Feed(
            on.pool,
            self._handover,
            credit=self.credit,
            exposure=exposure,
            ownership=Ownership(on.source, self._leases, self._insist),
            refusals=refusals,
            postponed=postponed,
            repeats=Repeats(
                on.source,
                refusals,
                claim=on.backend.claim,
                load=on.backend.load,
                deduplicates=on.options.deduplicates,
                patience=self._insist,
            ),
            last_attempts=LastAttempts(on.options.max_deliveries, self._state.active, on.clock),
            events=self._events,
            state=self._state,
        )

    def make_calls(self, app: Umbel) -> Calls:
        """What calls functions in the pool, beside tasks."""
        # Few workers do; see umbel.worker.extensions.
        from umbel.worker.steps.calls import Calls

        on = self._on
        made = Calls(on.pool, self.credit, self._intake.keys, on.clock, app)
        self._finish.others = made.ended
        return made

    def make_strategies(self, accept: frozenset[str]) -> Strategies:
        """What sees to messages of some tasks instead of running them."""
        # As in make_calls.
        from umbel.worker.steps.strategies import Strategies

        made = Strategies(self._finish, accept, self._state.totals)
        self._feed.strategies = made
        return made

    def running(self) -> list[Running]:
        """What the pool has started."""
        return self._on.pool.running()

    def nudge(self) -> None:
        """Something about what may run has changed: look again at once."""
        self._intake.nudge()

    async def reconnect(self) -> None:
        """Ask the broker anew, on a new connection if nothing depends on the old one."""
        self._intake.nudge()
        if not len(self._leases) and not self._state.active:
            broker = self._on.source.broker
            await broker.close()
            await self._insist(broker.open)

    async def run(self, shutdown: Shutdown) -> None:
        """Work until asked to end, then end: warm, and colder when asked again.

        A part that fails ends the others, and is raised.
        """
        await self.revoking.load()
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(self._intake.receive(), name="umbel-receive")
            starting = group.create_task(self._feed.start(), name="umbel-start")
            returning = group.create_task(self._surplus.run(), name="umbel-surplus")
            serving = [
                group.create_task(self._finish.collect(), name="umbel-collect"),
                group.create_task(self._finish.settle(), name="umbel-settle"),
                group.create_task(self._settler.run(), name="umbel-stuck"),
                group.create_task(self._leases.run(), name="umbel-leases"),
                group.create_task(self.revoking.run(), name="umbel-revocations"),
                group.create_task(self._events.look(), name="umbel-started"),
            ]
            cold = group.create_task(shutdown.cold(), name="umbel-cold")
            await shutdown.asked()
            # What it is giving back goes back with all the rest.
            returning.cancel()
            await self._stop_intake(receiving, starting)
            stopped = group.create_task(self._on.pool.stop(grace=inf), name="umbel-stop")
            await self._stop_pool(stopped, cold, shutdown)
            if not await self._settle_the_rest():
                shutdown.fall_short()
            for task in (*serving, cold):
                task.cancel()
            self.revoking.write()

    async def _end_lost(self, lost: Sequence[Delivery]) -> None:
        """End what runs in vain."""
        tags = {delivery.tag for delivery in lost}
        keys: list[int] = []
        for key, accepted in self._state.active.items():
            if accepted.options.acks_late and accepted.delivery.tag in tags:
                keys.append(key)
                reports.in_vain(accepted)
        await self._on.pool.cancel(keys, signal="SIGTERM")

    async def _stop_intake(
        self, receiving: asyncio.Task[None], starting: asyncio.Task[None]
    ) -> None:
        receiving.cancel()
        self._feed.stop()
        _, stuck = await asyncio.wait([receiving, starting], timeout=self._grace)
        for task in stuck:
            task.cancel()
            self._grace = _RELUCTANCE
        await self._give_back(self._feed.leftovers())

    async def _stop_pool(
        self,
        stopped: asyncio.Task[list[Request]],
        cold: asyncio.Task[None],
        shutdown: Shutdown,
    ) -> None:
        await asyncio.wait([stopped, cold], return_when=asyncio.FIRST_COMPLETED)
        if shutdown.is_cold:
            await self._wait_softly(stopped, shutdown)
        if stopped.done():
            waiting = self._known_among(stopped.result())
        else:
            waiting = await self._abandon(stopped)
        await self._give_back([accepted.delivery for accepted in waiting])

    async def _wait_softly(self, stopped: asyncio.Task[list[Request]], shutdown: Shutdown) -> None:
        """The last seconds for what runs, unless somebody is in a hurry."""
        seconds, on_idle = shutdown.grace, self._on.options.soft_shutdown_on_idle
        if seconds <= 0 or not (self._state.active or on_idle):
            return
        logger.warning("Initiating Soft Shutdown, terminating in %s seconds", seconds)
        hurried = asyncio.create_task(shutdown.hurried())
        awaited = [hurried] if on_idle else [hurried, stopped]
        try:
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()

    async def _abandon(self, stopped: asyncio.Task[list[Request]]) -> list[Accepted]:
        """End what runs, now; returns what never started."""
        active, pool = self._state.active, self._on.pool
        self._conclusions.abandon()
        await pool.cancel(list(active), signal="SIGKILL")
        await asyncio.wait([stopped], timeout=_RELUCTANCE)
        if stopped.done():
            return self._known_among(stopped.result())
        # Threads cannot be ended. Called again, stop names what never started first; the last
        # ones, no more than there are slots, run or may have run.
        stopped.cancel()
        await asyncio.wait([stopped])
        unfinished = self._known_among(await pool.stop(grace=0))
        waiting = max(0, len(unfinished) - pool.size)
        self._finish.enter([self._conclusions.abandoned(one) for one in unfinished[waiting:]])
        await self._finish.until_collected()
        return unfinished[:waiting]

    def _known_among(self, requests: Sequence[Request]) -> list[Accepted]:
        """Requests that the pool has not finished; calls of functions are nobody's."""
        active = self._state.active
        return [active.pop(request.key) for request in requests if request.key in active]

    async def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let other workers have what has not started here."""
        if not deliveries:
            return
        try:
            async with asyncio.timeout(self._grace):
                await self._settler.give_back(deliveries)
        except TimeoutError:
            logger.error(  # noqa: TRY400 - where the time ran out says nothing
                "Could not give back %d messages within %g seconds: they come back when their "
                "leases run out, those of tasks without acks_late as failures.",
                len(deliveries),
                self._grace,
            )
            self._grace = _RELUCTANCE

    async def _settle_the_rest(self) -> bool:
        """Whether all that has ended is stored and acknowledged."""
        try:
            async with asyncio.timeout(self._grace):
                if self._feed.strategies is not None:
                    await self._finish.until_collected()
                    await self._settler.give_back(self._feed.strategies.leftovers())
                await self._finish.until_idle()
        except TimeoutError:
            logger.error(  # noqa: TRY400 - where the time ran out says nothing
                "Could not store and acknowledge %d tasks that have ended within %g seconds. Those "
                "with acks_late run again elsewhere; the others are recorded there as failures.",
                len(self._leases),
                self._grace,
            )
            return False
        return True
