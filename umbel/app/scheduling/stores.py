"""Where periodic tasks are kept: in the broker, in a place that a URL names, or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from umbel.app.connecting import drivers
from umbel.app.connecting.transport_options import broker_options, connect_timeout
from umbel.app.connecting.urls import safe_url, shown_url
from umbel.exceptions import ImproperlyConfigured
from umbel.protocols import KeepsSchedules

if TYPE_CHECKING:
    from umbel.app.configuring.settings import Settings
    from umbel.model import Firing, Leadership, ScheduleRecord
    from umbel.protocols import Broker, Clock, ScheduleStore

__all__ = ["described", "schedule_file", "schedule_store"]


def schedule_store(
    conf: Settings,
    broker: Broker | None,
    *,
    clock: Clock,
    project: str,
) -> ScheduleStore | None:
    """The store that the settings ask for, not opened yet; None: ask again with the broker.

    Args:
        broker: The running loop's; None to avoid connecting to it when it is not needed.

    Raises:
        ImproperlyConfigured: ``beat_schedule_store`` names a place that keeps no schedules.
    """
    url = conf.beat_schedule_store
    if url:
        access = drivers.Access(
            url,
            clock=clock,
            options=broker_options(conf),
            project=project,
            connect_timeout=connect_timeout(conf),
        )
        made = drivers.make_broker(access, lease=conf.worker_lease)
        if not isinstance(made, KeepsSchedules):
            message = (
                f"beat_schedule_store={safe_url(url)!r}: {drivers.driver_of(url)} keeps "
                "no schedules. Use Redis or SQLite, or leave it out for a file."
            )
            raise ImproperlyConfigured(message)
        return _Elsewhere(made)
    if not conf.is_set("beat_schedule_filename"):
        if broker is None:
            return None
        if isinstance(broker, KeepsSchedules):
            return broker.schedules
    return drivers.make_schedule_file(schedule_file(conf), clock=clock)


def schedule_file(conf: Settings) -> str:
    """The file that periodic tasks are kept in where nothing else is.

    Not ``beat_schedule_filename`` itself: Celery's own file may be there, which is only read.
    """
    return f"{conf.beat_schedule_filename}.sqlite"


def described(conf: Settings, broker_url: str, project: str) -> str:
    """Where periodic tasks are kept, for people."""
    if conf.beat_schedule_store:
        return shown_url(conf.beat_schedule_store, project)
    if drivers.keeps_schedules(broker_url) and not conf.is_set("beat_schedule_filename"):
        return "in the broker"
    return schedule_file(conf)


class _Elsewhere:
    """A schedule in another place than the app's messages: it cannot publish them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._store: ScheduleStore = cast("KeepsSchedules", broker).schedules

    async def open(self) -> None:
        """Connect. Idempotent."""
        await self._broker.open()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        await self._broker.close()

    async def lead(self, owner: str, *, lease: float) -> Leadership:
        """As the store does."""
        return await self._store.lead(owner, lease=lease)

    async def resign(self, owner: str) -> None:
        """As the store does."""
        await self._store.resign(owner)

    async def load(self, names: Sequence[str] | None = None) -> list[ScheduleRecord]:
        """As the store does."""
        return await self._store.load(names)

    async def put(self, records: Sequence[ScheduleRecord]) -> None:
        """As the store does."""
        await self._store.put(records)

    async def remove(self, names: Sequence[str]) -> list[str]:
        """As the store does."""
        return await self._store.remove(names)

    async def pause(self, names: Sequence[str], *, paused: bool) -> list[str]:
        """As the store does."""
        return await self._store.pause(names, paused=paused)

    async def ask(self, names: Sequence[str]) -> list[str]:
        """As the store does."""
        return await self._store.ask(names)

    async def fire(self, firings: Sequence[Firing], *, term: int) -> list[bool]:
        """As the store does."""
        return await self._store.fire(firings, term=term)

    async def sent(self, names: Sequence[str], *, term: int) -> None:
        """As the store does."""
        await self._store.sent(names, term=term)
