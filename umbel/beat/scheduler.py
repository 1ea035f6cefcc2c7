"""Schedulers made for Celery: the class they build on, driven by :class:`umbel.beat.Service`.

umbel's own schedule does not go through it (see ``engine``); what is here has Celery's names,
its loop and its hooks, so that django-celery-beat, celery-redbeat and private schedulers work.

Source:
    Celery reference, ``celery.beat.Scheduler`` and ``PersistentScheduler``: names and meanings.
"""

from __future__ import annotations

import heapq
import logging
import shelve
import sys
from calendar import timegm
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from umbel.beat.entry import ScheduleEntry
from umbel.beat.lazy import evaluated
from umbel.exceptions import UmbelError
from umbel.schedules.crontab import crontab

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["DEFAULT_MAX_INTERVAL", "PersistentScheduler", "Scheduler", "SchedulingError", "event_t"]

DEFAULT_MAX_INTERVAL = 300
"""Seconds."""

logger = logging.getLogger("umbel.beat")


class SchedulingError(UmbelError):
    """A periodic task could not be sent."""


class event_t(NamedTuple):  # noqa: N801 - Celery's name
    """An entry in the heap of what comes next."""

    time: float
    priority: int
    entry: Any


class Scheduler:
    """Decides what is due, and sends it; to be subclassed.

    Args:
        app: The app.
        schedule: Entries by name, or a function that makes them.
        max_interval: The most seconds between two looks.
        Producer: Not used; kept for subclasses that pass it.
        lazy: Leave out :meth:`setup_schedule`.
        sync_every_tasks: Call :meth:`sync` after so many tasks.
    """

    Entry: ClassVar[type[Any]] = ScheduleEntry
    max_interval: float = DEFAULT_MAX_INTERVAL
    sync_every: float = 3 * 60
    sync_every_tasks: int | None = None
    announces: ClassVar[bool] = True
    """Whether it says in the log what it sends."""
    _last_sync: float | None = None
    _tasks_since_sync = 0
    logger = logger

    def __init__(
        self,
        app: Umbel,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803 - Celery's name
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **_kwargs: Any,
    ) -> None:
        self.app = app
        given: Any = schedule() if callable(schedule) else schedule
        self.data: dict[str, Any] = given or {}
        self.max_interval = (
            max_interval or app.conf.beat_max_loop_interval or type(self).max_interval
        )
        self.Producer = Producer
        self._heap: list[event_t] | None = None
        self.old_schedulers: dict[str, Any] | None = None
        self.sync_every_tasks = (
            app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        )
        if app.periodic:
            # Those who override setup_schedule read the setting: Celery puts what is added there.
            app.conf.beat_schedule = self._configured()
        if not lazy:
            self.setup_schedule()

    # -- what there is

    def setup_schedule(self) -> None:
        """Fill the schedule from the configuration; overridden by who keeps it elsewhere."""
        self.install_default_entries(self.data)
        self.merge_inplace(self._configured())

    def install_default_entries(self, data: dict[str, Any]) -> None:
        """Add what every app needs: results that have expired are deleted at four at night."""
        if self.app.conf.result_expires and "celery.backend_cleanup" not in data:
            entry = {
                "task": "celery.backend_cleanup",
                "schedule": crontab("0", "4", "*"),
                "options": {"expires": 12 * 3600},
            }
            self.update_from_dict({"celery.backend_cleanup": entry})

    def get_schedule(self) -> dict[str, Any]:
        """Entries by name."""
        return self.data

    def set_schedule(self, schedule: dict[str, Any]) -> None:
        """Replace all entries."""
        self.data = schedule

    @property
    def schedule(self) -> dict[str, Any]:
        """Entries by name."""
        return self.get_schedule()

    @schedule.setter
    def schedule(self, schedule: dict[str, Any]) -> None:
        self.set_schedule(schedule)

    def add(self, **kwargs: Any) -> Any:
        """Add an entry."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries, given as in ``beat_schedule``."""
        self.schedule.update(
            {name: self._maybe_entry(name, entry) for name, entry in dict_.items()}
        )

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the entries those of ``b``; those that were there keep when they last ran."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            schedule.pop(name, None)
        for name, given in b.items():
            entry = self._maybe_entry(name, given)
            if name in schedule:
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def _configured(self) -> dict[str, Any]:
        return {**(self.app.conf.beat_schedule or {}), **self.app.periodic}

    def _maybe_entry(self, name: str, given: Any) -> Any:
        if isinstance(given, self.Entry):
            given.app = self.app
            return given
        fields = {key: value for key, value in dict(given).items() if key != "name"}
        return self.Entry(**fields, name=name, app=self.app)

    # -- what is due

    def is_due(self, entry: Any) -> Any:
        """Whether an entry is to be run, and in how many seconds to ask again."""
        return entry.is_due()

    def adjust(self, n: float | None, drift: float = -0.010) -> float | None:
        """A pause, a little shorter."""
        return n + drift if n and n > 0 else n

    def _when(
        self, entry: Any, next_time_to_run: float, mktime: Callable[[Any], float] = timegm
    ) -> float:
        """When to look at an entry again, in Unix seconds."""
        now: datetime = entry.default_now()
        return (
            mktime(now.utctimetuple())
            + now.microsecond / 1e6
            + (self.adjust(next_time_to_run) or 0)
        )

    def populate_heap(
        self, event_t: Any = event_t, heapify: Callable[[list[Any]], None] = heapq.heapify
    ) -> None:
        """Put every entry into the heap anew."""
        self._heap = []
        for entry in self.schedule.values():
            is_due, again = self._asked(entry)
            self._heap.append(event_t(self._when(entry, 0 if is_due else again or 0), 5, entry))
        heapify(self._heap)

    def tick(
        self,
        event_t: Any = event_t,
        min: Callable[..., float] = min,
        heappop: Callable[[list[Any]], Any] = heapq.heappop,
        heappush: Callable[[list[Any], Any], None] = heapq.heappush,
    ) -> float:
        """Send the next entry if it is due; returns the seconds until to be called again."""
        if self._heap is None or not self.schedules_equal(self.old_schedulers, self.schedule):
            self.old_schedulers = dict(self.schedule)
            self.populate_heap()
        heap = self._heap
        if not heap:
            return self.max_interval
        event = heap[0]
        entry = event[2]
        is_due, again = self._asked(entry)
        if not is_due:
            # It was looked at too early, or its schedule has changed its mind.
            heappop(heap)
            heappush(heap, event_t(self._when(entry, again or 0), event[1], entry))
            pause = self.adjust(again)
            return float(min(self.max_interval if pause is None else pause, self.max_interval))
        verify = heappop(heap)
        if verify is not event:
            heappush(heap, verify)
            return float(min(verify[0], self.max_interval))
        following = self.reserve(entry)
        self.apply_entry(entry, producer=self.producer)
        heappush(heap, event_t(self._when(following, again or 0), event[1], following))
        return 0

    def schedules_equal(
        self, old_schedules: Mapping[str, Any] | None, new_schedules: Mapping[str, Any] | None
    ) -> bool:
        """Whether nothing has changed but when entries last ran."""
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return set(old_schedules) == set(new_schedules) and all(
            new_schedules[name] == entry for name, entry in old_schedules.items()
        )

    def _asked(self, entry: Any) -> tuple[bool, float | None]:
        try:
            is_due, again = self.is_due(entry)
        except Exception:
            # A schedule of the user's: the others go on.
            logger.exception("beat: Whether %s is due cannot be said", entry.name)
            return False, self.max_interval
        return is_due, again

    # -- sending

    def reserve(self, entry: Any) -> Any:
        """Count a run of an entry."""
        following = self.schedule[entry.name] = next(entry)
        return following

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry's task; errors are logged."""
        if self.announces:
            logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            # Tasks, routes and subclasses raise anything; the others go on.
            logger.error("Message Error: %s", error, exc_info=True)  # noqa: G201
        else:
            if self.announces:
                logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", None))

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **_kwargs: Any
    ) -> Any:
        """Send an entry's task.

        Raises:
            SchedulingError: It could not be sent.
        """
        entry = self.reserve(entry) if advance else entry
        task = self.app.tasks.get(entry.task)
        try:
            args = [evaluated(value) for value in entry.args or ()]
            given: dict[str, Any] = entry.kwargs or {}
            kwargs = {key: evaluated(value) for key, value in given.items()}
            options = {**entry.options, "producer": producer}
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            if task is not None:
                return task.apply_async(args, kwargs, **options)
            return self.send_task(entry.task, args, kwargs, **options)
        except Exception as error:
            raise SchedulingError(f"Couldn't apply scheduled task {entry.name}: {error}") from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task whose code is not here."""
        return self.app.send_task(*args, **kwargs)

    @property
    def producer(self) -> Any:
        """Nothing: the app has one."""
        return None

    @property
    def connection(self) -> Any:
        """Nothing: the app has one."""
        return None

    # -- keeping

    def should_sync(self) -> bool:
        """Whether it is time to write down when entries ran."""
        if self._last_sync is None or monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks) and self._tasks_since_sync >= (
            self.sync_every_tasks or 0
        )

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        finally:
            self._last_sync = monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Write down when entries ran; overridden by who keeps it."""

    def close(self) -> None:
        """End."""
        self.sync()

    @property
    def info(self) -> str:
        """A line about where the schedule is kept."""
        return ""


class PersistentScheduler(Scheduler):
    """Keeps the schedule in a shelf, as Celery does; for subclasses of it.

    As ``beat_scheduler`` it means umbel's own schedule, which keeps more, elsewhere.
    """

    persistence = shelve
    known_suffixes = ("", ".db", ".dat", ".bak", ".dir")
    _store: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.schedule_filename: str = kwargs.get("schedule_filename") or "celerybeat-schedule"
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Open the shelf; what cannot be read begins anew."""
        try:
            self._store = self.persistence.open(self.schedule_filename, writeback=True)
            entries = dict(self._store.get("entries", {}))
        except Exception:
            # A broken pickle or database raises anything.
            logger.exception(
                "beat: Removing the corrupted schedule file %s", self.schedule_filename
            )
            self._remove()
            self._store = self.persistence.open(self.schedule_filename, writeback=True)
            entries = {}
        self._store["entries"] = entries
        self.install_default_entries(entries)
        self.merge_inplace(self._configured())
        self._store["__version__"] = ".".join(map(str, sys.version_info[:3]))
        self._store["tz"] = str(self.app.timezone)
        self._store["utc_enabled"] = self.app.conf.enable_utc
        self.sync()

    def get_schedule(self) -> dict[str, Any]:
        """Entries by name."""
        return self._store["entries"] if self._store is not None else self.data

    def set_schedule(self, schedule: dict[str, Any]) -> None:
        """Replace all entries."""
        if self._store is None:
            self.data = schedule
        else:
            self._store["entries"] = schedule

    def sync(self) -> None:
        """Write the shelf."""
        if self._store is not None:
            self._store.sync()

    def close(self) -> None:
        """Write the shelf, and close it."""
        self.sync()
        if self._store is not None:
            self._store.close()

    def _remove(self) -> None:
        for suffix in self.known_suffixes:
            with suppress(OSError):
                Path(self.schedule_filename + suffix).unlink()

    @property
    def info(self) -> str:
        """A line about where the schedule is kept."""
        return f"    . db -> {self.schedule_filename}"
