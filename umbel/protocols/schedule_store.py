"""What a store of periodic tasks must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from umbel.model import Firing, Leadership, Message, ScheduleRecord

__all__ = ["KeepsSchedules", "PublishingScheduleStore", "ScheduleStore"]


class ScheduleStore(Protocol):
    """Remembers what runs when, and lets any number of schedulers stand by for one another.

    Raises (all methods):
        BrokerUnavailable: The store cannot be reached; nothing is known about the call.
    """

    async def open(self) -> None:
        """Connect. Idempotent."""

    async def close(self) -> None:
        """Disconnect. Idempotent."""

    async def lead(self, owner: str, *, lease: float) -> Leadership:
        """Become the leader if there is none, or stay it for ``lease`` seconds from now; says who
        leads. Time is the store's where it has a clock of its own."""
        ...

    async def resign(self, owner: str) -> None:
        """Let others lead at once, if ``owner`` does."""

    async def load(self, names: Sequence[str] | None = None) -> list[ScheduleRecord]:
        """What is scheduled: all of it, or what there is of ``names``."""
        ...

    async def put(self, records: Sequence[ScheduleRecord]) -> None:
        """Add entries. Of those that are there, ``entry`` is replaced and the rest is kept."""

    async def remove(self, names: Sequence[str]) -> list[str]:
        """Delete entries; returns those that there were."""
        ...

    async def pause(self, names: Sequence[str], *, paused: bool) -> list[str]:
        """Stop entries, or let them go on; returns those that there are."""
        ...

    async def ask(self, names: Sequence[str]) -> list[str]:
        """Have entries run once, as soon as the leader sees it; returns those that there are."""
        ...

    async def fire(self, firings: Sequence[Firing], *, term: int) -> list[bool]:
        """Take the steps, each in one atomic step of the store; says which were taken.

        One is refused when ``term`` is over, when the entry is gone, or when it is no longer
        where ``after`` says: so no time is run twice, whoever slept in between. What was taken
        with a task is ``unsent`` until :meth:`sent`.
        """
        ...

    async def sent(self, names: Sequence[str], *, term: int) -> None:
        """The tasks of the last firings are on their way."""


@runtime_checkable
class PublishingScheduleStore(ScheduleStore, Protocol):
    """A store in the same place as a broker: it takes a step and sends the task as one."""

    async def fire_and_publish(
        self, firings: Sequence[Firing], messages: Sequence[Message], *, term: int
    ) -> list[bool]:
        """:meth:`ScheduleStore.fire`; the messages of the steps that were taken are published
        in the same transaction, and nothing is left ``unsent``.

        Args:
            messages: One for each firing, all of which have a ``task_id``.
        """
        ...


@runtime_checkable
class KeepsSchedules(Protocol):
    """A broker that keeps periodic tasks where its messages are; its connection is used."""

    @property
    def schedules(self) -> ScheduleStore:
        """The store; publishing, where the broker has transactions."""
        ...
