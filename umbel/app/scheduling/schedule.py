"""``app.schedule``: periodic tasks, seen and changed while schedulers run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import ScheduleRecord
from umbel.schedules import plan as plans
from umbel.schedules.plan import Plan
from umbel.schedules.policy import next_time

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.protocols import ScheduleStore

__all__ = ["Occurrence", "Schedule", "ScheduledTask", "code_entries"]


class ScheduledTask(msgspec.Struct, frozen=True):
    """A periodic task, and how far it has come."""

    name: str
    plan: Plan | None
    """None: only the code that it comes from knows it."""
    paused: bool
    count: int
    last_run: datetime | None
    next_run: datetime | None
    task_id: str | None
    """The last task's: ``app.AsyncResult(task_id)`` is its result."""
    from_code: bool


class Occurrence(msgspec.Struct, frozen=True):
    """One time of a periodic task."""

    at: datetime
    """In the app's time zone."""
    note: str
    """What clocks do about it: empty, or a sentence."""


class Schedule:
    """Periodic tasks of an app. Schedulers see a change within a second or two; none has to be
    restarted, and none has to run.

    Each method has an ``async`` twin whose name begins with ``a``.

    Raises (all methods):
        OperationalError: Where the schedule is kept cannot be reached.
    """

    def __init__(self, app: Umbel) -> None:
        self._app = app

    def add(self, name: str, task: Any, schedule: Any, **entry: Any) -> None:
        """Add an entry, or replace one that was added before.

        Args:
            task: A task, or its name.
            schedule: Seconds, a ``timedelta``, a ``datetime``, a line of crontab, a schedule.
            entry: The other keys of an entry of ``beat_schedule``: ``args``, ``kwargs``,
                ``options``, ``missed``, ``overlap``, ``jitter``, ``start``, ``end`` …

        Raises:
            ImproperlyConfigured: Something is missing, unknown or cannot be.
            ValueError: The configuration has an entry of that name.
            EncodeError: Arguments or options cannot be written as JSON.
        """
        self._app.portal.call(self.aadd, name, task, schedule, entry)

    async def aadd(
        self, name: str, task: Any, schedule: Any, entry: Mapping[str, Any] | None = None
    ) -> None:
        """:meth:`add`, with the other keys in one mapping."""
        given = {**(entry or {}), "task": task, "schedule": schedule}
        plan = plans.plan_of(name, given, self._app, from_code=False)
        store = await self._store()
        await self._refuse_code(store, name)
        now = self._app.wall_clock.time()
        await store.put([ScheduleRecord(name=name, entry=plans.encode(plan), since=now)])

    def change(self, name: str, **entry: Any) -> None:
        """Change some keys of an entry that was added.

        Raises:
            KeyError: There is none of that name.
            ValueError: It comes from the configuration.
            ImproperlyConfigured: A value cannot be.
        """
        self._app.portal.call(self.achange, name, entry)

    async def achange(self, name: str, entry: Mapping[str, Any]) -> None:
        """:meth:`change`, with the keys in one mapping."""
        store = await self._store()
        await self._refuse_code(store, name)
        found = await store.load([name])
        if not found:
            raise _unknown([name])
        plan = plans.decode(name, found[0].entry, self._app)
        fields = msgspec.structs.asdict(plan)
        for gone in ("name", "from_code"):
            del fields[gone]
        changed = plans.plan_of(name, {**fields, **entry}, self._app, from_code=False)
        await store.put([msgspec.structs.replace(found[0], entry=plans.encode(changed))])

    def pause(self, *names: str) -> None:
        """Stop entries; times that come meanwhile are not made up for.

        Raises:
            KeyError: There is none of such a name; the others are stopped.
        """
        self._app.portal.call(self.apause, *names)

    async def apause(self, *names: str) -> None:
        """:meth:`pause`."""
        store = await self._with_code(names)
        _check(names, await store.pause(names, paused=True))

    def resume(self, *names: str) -> None:
        """Let entries go on.

        Raises:
            KeyError: There is none of such a name; the others go on.
        """
        self._app.portal.call(self.aresume, *names)

    async def aresume(self, *names: str) -> None:
        """:meth:`resume`."""
        store = await self._with_code(names)
        _check(names, await store.pause(names, paused=False))

    def run(self, *names: str) -> None:
        """Have entries run once, now; their times stay as they are. A scheduler does it.

        Raises:
            KeyError: There is none of such a name; the others are run.
        """
        self._app.portal.call(self.arun, *names)

    async def arun(self, *names: str) -> None:
        """:meth:`run`."""
        store = await self._with_code(names)
        _check(names, await store.ask(names))

    def remove(self, *names: str) -> None:
        """Delete entries that were added.

        Raises:
            KeyError: There is none of such a name; the others are gone.
            ValueError: One comes from the configuration; nothing is deleted.
        """
        self._app.portal.call(self.aremove, *names)

    async def aremove(self, *names: str) -> None:
        """:meth:`remove`."""
        store = await self._store()
        for name in names:
            await self._refuse_code(store, name)
        _check(names, await store.remove(names))

    def list(self) -> Sequence[ScheduledTask]:
        """Every periodic task, by name: those that were added, and those of the configuration
        that runs, or of this one where none has run yet."""
        return self._app.portal.call(self.alist)

    async def alist(self) -> Sequence[ScheduledTask]:
        """:meth:`list`."""
        code = code_entries(self._app)
        records = {record.name: record for record in await (await self._store()).load()}
        now = self._app.wall_clock.time()
        for name, plan in code.items():
            if name not in records:
                kept = plans.encode_loosely(plan)
                records[name] = ScheduleRecord(name=name, entry=kept, since=now)
        return [self._shown(records[name], code.get(name)) for name in sorted(records)]

    def preview(
        self, name: str, count: int = 10, *, after: datetime | None = None
    ) -> Sequence[Occurrence]:
        """The next times of an entry, with what changes of clocks do to them.

        Raises:
            KeyError: There is none of that name.
        """
        return self._app.portal.call(self.apreview, name, count, after)

    async def apreview(
        self, name: str, count: int = 10, after: datetime | None = None
    ) -> Sequence[Occurrence]:
        """:meth:`preview`."""
        plan = code_entries(self._app).get(name)
        if plan is None:
            found = await (await self._store()).load([name])
            if not found:
                raise _unknown([name])
            plan = plans.decode(name, found[0].entry, self._app)
        begin = self._app.now() if after is None else after
        return self.occurrences(plan, begin, count)

    def occurrences(self, plan: Plan, after: datetime, count: int) -> Sequence[Occurrence]:
        """The times of a plan after a moment."""
        found: list[Occurrence] = []
        moment: float | None = after.timestamp()
        for _ in range(count):
            assert moment is not None
            moment = next_time(plan, moment)
            if moment is None:
                break
            at = datetime.fromtimestamp(moment, UTC).astimezone(self._app.timezone)
            found.append(Occurrence(at, _note(at)))
        return found

    def _shown(self, record: ScheduleRecord, plan: Plan | None) -> ScheduledTask:
        if plan is None:
            try:
                plan = plans.decode(record.name, record.entry, self._app)
            except DecodeError:
                # Of other code than ours: its schedule is an object that only that code has.
                plan = None
        following = None
        if plan is not None and not record.paused:
            after = datetime.fromtimestamp(max(record.since, self._app.wall_clock.time()), UTC)
            times = self.occurrences(plan, after, 1)
            following = times[0].at if times else None
        last = record.last_run
        return ScheduledTask(
            name=record.name,
            plan=plan,
            paused=record.paused,
            count=record.count,
            last_run=None
            if last is None
            else datetime.fromtimestamp(last, UTC).astimezone(self._app.timezone),
            next_run=following,
            task_id=record.task_id,
            from_code=plan is None or plan.from_code,
        )

    async def _with_code(self, names: Sequence[str]) -> ScheduleStore:
        """The store, with those of the entries that are the code's: no scheduler may have run."""
        store = await self._store()
        code = code_entries(self._app)
        there = {record.name for record in await store.load(names)}
        now = self._app.wall_clock.time()
        missing = [
            ScheduleRecord(name=name, entry=plans.encode_loosely(code[name]), since=now)
            for name in names
            if name in code and name not in there
        ]
        if missing:
            await store.put(missing)
        return store

    async def _store(self) -> ScheduleStore:
        return await self._app.connections.schedules()

    async def _refuse_code(self, store: ScheduleStore, name: str) -> None:
        found = await store.load([name])
        known = name in code_entries(self._app)
        if found and not known:
            try:
                known = plans.decode(name, found[0].entry, self._app).from_code
            except DecodeError:
                known = True
        if known:
            raise ValueError(
                f"the periodic task {name!r} comes from the configuration (beat_schedule or "
                "add_periodic_task): change it there, or pause it and add another one."
            )


def code_entries(app: Umbel) -> dict[str, Plan]:
    """The entries of ``beat_schedule``, and what ``add_periodic_task`` added to it.

    Raises:
        ImproperlyConfigured: One of them cannot be.
    """
    app.finalize()
    configured: dict[str, Any] = {**(app.conf.beat_schedule or {}), **app.periodic}
    return {name: plans.plan_of(name, entry, app) for name, entry in configured.items()}


def _note(at: datetime) -> str:
    shown = at.replace(tzinfo=None)
    before, after = at.replace(fold=0), at.replace(fold=1)
    if before.utcoffset() != after.utcoffset():
        return f"clocks show {shown:%H:%M} twice; this is the {'second' if at.fold else 'first'}"
    earlier = datetime.fromtimestamp(at.timestamp() - 1, UTC).astimezone(at.tzinfo)
    if earlier.utcoffset() != at.utcoffset():
        return f"clocks jump here from {earlier:%H:%M:%S}"
    return ""


def _check(names: Sequence[str], found: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise _unknown(missing)


def _unknown(names: Sequence[str]) -> KeyError:
    shown = ", ".join(map(repr, names))
    return KeyError(f"there is no periodic task {shown}; `umbel schedule list` shows them.")
