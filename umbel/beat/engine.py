"""What fires: one leader among any number of schedulers, entry after entry in order of time.

The store decides. A time of an entry is run by whoever moves the entry in the store from the time
before it to this one, which only the leader of the current term can, and only once; everything
else here may be late, frozen or doubled without harm.
"""

from __future__ import annotations

import heapq
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from umbel.app.sending.ids import new_id
from umbel.beat.sending import Sending
from umbel.beat.shelf import LastRun
from umbel.exceptions import DecodeError, OperationalError
from umbel.model import Firing, Leadership, ScheduleRecord
from umbel.protocols import PublishingScheduleStore, ScheduleStore
from umbel.schedules import plan as plans
from umbel.schedules.crontab import crontab
from umbel.schedules.plan import Plan
from umbel.schedules.policy import steps

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["LEASE", "Engine"]

logger = logging.getLogger("umbel.beat")

LEASE = 6.0
"""Seconds that a leader leads without a word; another takes over within two more."""
_LOOK = 1.0
"""Seconds between two looks at who leads and what has changed."""
_MOST_AT_ONCE = 500
"""Entries in one step: the loop looks at the clock and at the store in between."""


class _Due(msgspec.Struct, frozen=True):
    """A step of an entry that is to be taken now."""

    plan: Plan
    firing: Firing
    skipped: int = 0


class Engine:
    """Runs a schedule from a store, beside others that stand by.

    Args:
        store: Gives where the schedule is kept, open.
        code: The entries of the configuration: the leader's replace those of the leader before.
        before: When entries last ran under another scheduler, for those that are new here.
        owner: The name in the leader's place; by default this host, process and engine.
        max_interval: The most seconds between two looks at the clock.
    """

    def __init__(
        self,
        app: Umbel,
        store: Callable[[], Awaitable[ScheduleStore]],
        code: Mapping[str, Plan],
        *,
        before: Mapping[str, LastRun] | None = None,
        owner: str | None = None,
        max_interval: float | None = None,
    ) -> None:
        self.app = app
        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{new_id()[:8]}"
        self._find_store = store
        self._code = code
        self._before: Mapping[str, LastRun] = before or {}
        self._store: ScheduleStore | None = None
        self._clock = app.wall_clock
        self._max_interval = max_interval or _LOOK
        self._sending = Sending(app)
        self._plans: dict[str, Plan] = {}
        self._records: dict[str, ScheduleRecord] = {}
        # When to look at each entry again, the next one first; an old time of an entry that has
        # got another since costs one look.
        self._heap: list[tuple[float, str]] = []
        self._leadership: Leadership | None = None
        self._next_look = 0.0
        self._ticked_at = 0.0
        self._troubled = False
        self._stale = False

    @property
    def leads(self) -> bool:
        """Whether it is this one's turn, as far as it knows."""
        return self._leadership is not None and self._leadership.leader == self.owner

    async def tick(self) -> float:
        """Do what is due; returns the seconds until there is something to do again."""
        try:
            pause = await self._tick()
        except OperationalError as error:
            # Nothing was decided, or it was and the store knows: it is looked at again.
            if not self._troubled:
                logger.error("beat: Connection error: %s. Trying again...", error)  # noqa: TRY400
            self._troubled = True
            # What was under way may have happened: everything is read again.
            self._stale = True
            self._next_look = 0.0
            return _LOOK
        if self._troubled:
            logger.warning("beat: Connected again.")
        self._troubled = False
        return pause

    async def resign(self) -> None:
        """Let another one lead at once."""
        if self.leads:
            try:
                await self._opened.resign(self.owner)
            except OperationalError as error:
                logger.warning("beat: Another one leads in %g seconds: %s", LEASE, error)
        self._leadership = None

    async def _tick(self) -> float:
        clock = self._clock
        if clock.monotonic() >= self._next_look:
            await self._look()
            self._next_look = clock.monotonic() + _LOOK
        if not self.leads:
            return max(self._next_look - clock.monotonic(), 0.0)
        await self._sending.catch_up(self._sent)
        now = clock.time()
        if now < self._ticked_at:
            # The clock was set back: what was to be looked at by the old time is, by the new one.
            self._heap = [(0.0, name) for name in self._records]
        self._ticked_at = now
        heap = self._heap
        if heap and heap[0][0] <= now:
            await self._fire(self._pop_due(now))
        until_look = self._next_look - clock.monotonic()
        until_due = heap[0][0] - clock.time() if heap else until_look
        return max(min(until_look, until_due, self._max_interval), 0.0)

    # -- who leads, and what there is

    @property
    def _opened(self) -> ScheduleStore:
        assert self._store is not None, "it was looked at before"
        return self._store

    async def _look(self) -> None:
        if self._store is None:
            self._store = await self._find_store()
        before = self._leadership
        found = await self._opened.lead(self.owner, lease=LEASE)
        self._leadership = found
        if found.leader != self.owner:
            if before is None or before.leader != found.leader:
                logger.info("beat: Standing by, %s leads.", found.leader)
            self._records.clear()
            self._heap.clear()
        elif before is None or before.term != found.term or before.leader != self.owner:
            logger.info("beat: Leading (term %d).", found.term)
            await self._take_over()
            self._stale = False
        elif before.version != found.version or self._stale:
            await self._load()
            self._stale = False

    async def _take_over(self) -> None:
        now = self._clock.time()
        code = self._code
        await self._opened.put([self._fresh(plan, now) for plan in code.values()])
        await self._load()
        gone = [name for name, plan in self._plans.items() if plan.from_code and name not in code]
        if gone:
            logger.info("beat: No longer in the configuration: %s", ", ".join(sorted(gone)))
            await self._opened.remove(gone)
        for name in gone:
            del self._plans[name], self._records[name]

    def _fresh(self, plan: Plan, now: float) -> ScheduleRecord:
        """An entry as it is kept if it has not been there."""
        before = self._before.get(plan.name)
        since = now if before is None else min(before.at, now)
        return ScheduleRecord(name=plan.name, entry=plans.encode_loosely(plan), since=since)

    async def _load(self) -> None:
        """Read everything anew; a task that may not have been sent is sent."""
        plans_: dict[str, Plan] = {}
        records: dict[str, ScheduleRecord] = {}
        for record in await self._opened.load():
            plan = self._understood(record)
            if plan is not None:
                plans_[record.name], records[record.name] = plan, record
        self._plans, self._records = plans_, records
        self._heap = [(0.0, name) for name in records]
        for name, record in records.items():
            if record.unsent and record.task_id is not None:
                self._sending.remember(plans_[name], record)

    def _understood(self, record: ScheduleRecord) -> Plan | None:
        if record.name in self._code:
            return self._code[record.name]
        try:
            return plans.decode(record.name, record.entry, self.app)
        except DecodeError as error:
            logger.error("beat: %s", error)  # noqa: TRY400 - the sentence says it
            return None

    # -- what is due

    def _pop_due(self, now: float) -> list[str]:
        heap = self._heap
        names: dict[str, None] = {}
        while heap and heap[0][0] <= now and len(names) < _MOST_AT_ONCE:
            names[heapq.heappop(heap)[1]] = None
        return [name for name in names if name in self._records]

    async def _fire(self, names: Sequence[str]) -> None:
        busy = await self._sending.unfinished(
            [(self._plans[name], self._records[name]) for name in names]
        )
        due: list[_Due] = []
        for name in names:
            due += self._due(name, busy=name in busy)
        for batch in _apart(due):
            await self._take(batch)

    def _due(self, name: str, *, busy: bool) -> Iterable[_Due]:
        plan, record, now = self._plans[name], self._records[name], self._clock.time()
        if record.asked:
            yield _Due(plan, _firing(record, record.since, now, runs=True))
        if record.paused:
            # What comes meanwhile is not missed: it is not wanted.
            found = steps(plan, record.since, now)
            if found.steps:
                yield _Due(plan, _firing(record, found.steps[-1].until, now, runs=False))
            heapq.heappush(self._heap, (found.again, name))
            return
        found = steps(plan, record.since, now, deadline=self._deadline(plan))
        if busy and plan.overlap == "queue":
            heapq.heappush(self._heap, (now + _LOOK, name))
            return
        heapq.heappush(self._heap, (found.again, name))
        since = record.since
        for step in found.steps:
            runs = step.runs and not (busy and plan.overlap == "skip")
            if step.runs and not runs:
                logger.info("beat: Skipped %s: its last task has not ended.", name)
            firing = _firing(record, step.until, now, runs=runs, after=since)
            yield _Due(plan, firing, step.skipped)
            since = step.until
            if runs and plan.overlap != "allow":
                # One at a time: what is left is decided when this one has ended.
                heapq.heappush(self._heap, (now + _LOOK, name))
                return

    async def _take(self, due: Sequence[_Due]) -> None:
        """Take the steps of entries, one each, and send what they run."""
        assert self._leadership is not None, "who does not lead fires nothing"
        store, term = self._opened, self._leadership.term
        prepared = self._sending.prepare(
            [(one.plan, one.firing) for one in due if one.firing.task_id is not None]
        )
        skips = [one for one in due if one.firing.task_id not in prepared.messages]
        runs = [one for one in due if one.firing.task_id in prepared.messages]
        if skips:
            # Also what could not be made into a message: it could not the next time, either.
            skips = [
                msgspec.structs.replace(
                    one, firing=msgspec.structs.replace(one.firing, task_id=None)
                )
                for one in skips
            ]
            self._note(skips, await store.fire([one.firing for one in skips], term=term))
        if not runs:
            return
        firings = [one.firing for one in runs]
        if isinstance(store, PublishingScheduleStore):
            messages = [prepared.messages[str(firing.task_id)] for firing in firings]
            taken = await store.fire_and_publish(firings, messages, term=term)
            sent = self._note(runs, taken)
            await self._sending.announce(prepared, sent)
        else:
            sent = self._note(runs, await store.fire(firings, term=term))
            await self._sending.send(prepared, sent, self._sent)

    async def _sent(self, names: Sequence[str]) -> None:
        assert self._leadership is not None, "who does not lead sends nothing"
        await self._opened.sent(names, term=self._leadership.term)

    def _note(self, due: Sequence[_Due], taken: Sequence[bool]) -> set[str]:
        """Remember what the store has; returns the ids of the tasks whose step was taken."""
        sent: set[str] = set()
        for one, ok in zip(due, taken, strict=True):
            firing = one.firing
            if not ok:
                # Somebody leads by now, or has changed it: seen at the next look, which is now.
                logger.info("beat: %s had been moved on by another.", firing.name)
                self._stale = True
                self._next_look = 0.0
                continue
            runs = firing.task_id is not None
            record = self._records[firing.name]
            self._records[firing.name] = msgspec.structs.replace(
                record,
                since=firing.until,
                asked=record.asked and firing.until != firing.after,
                count=record.count + runs,
                last_run=firing.at if runs else record.last_run,
                task_id=firing.task_id or record.task_id,
            )
            if one.skipped:
                logger.warning("beat: Skipped %d missed times of %s.", one.skipped, firing.name)
            if firing.task_id is not None:
                sent.add(firing.task_id)
                logger.info("Scheduler: Sending due task %s (%s)", firing.name, one.plan.task)
        return sent

    def _deadline(self, plan: Plan) -> float | None:
        deadline: float | None = self.app.conf.beat_cron_starting_deadline
        return deadline if isinstance(plan.schedule, crontab) else None


def _firing(
    record: ScheduleRecord, until: float, now: float, *, runs: bool, after: float | None = None
) -> Firing:
    return Firing(
        name=record.name,
        after=record.since if after is None else after,
        until=until,
        at=now,
        task_id=new_id() if runs else None,
    )


def _apart(due: Sequence[_Due]) -> Iterable[list[_Due]]:
    """Batches with one step of each entry: the second step begins where the first has ended."""
    while due:
        batch: dict[str, _Due] = {}
        rest: list[_Due] = []
        for one in due:
            if one.firing.name in batch:
                rest.append(one)
            else:
                batch[one.firing.name] = one
        yield list(batch.values())
        due = rest
