"""What schedule stores keep."""

from __future__ import annotations

import msgspec

__all__ = ["Firing", "Leadership", "ScheduleRecord"]


class ScheduleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the schedule, and how far it has come."""

    name: str
    entry: bytes
    """What is run and when, written by ``umbel.schedules.plan``; nothing to stores."""
    since: float
    """Unix seconds: times up to this one are done with, run or skipped. The entry's slot: who
    wants to run the next one has to have seen this one."""
    paused: bool = False
    asked: bool = False
    """Whether somebody wants it run once, now."""
    count: int = 0
    """How often it was run."""
    last_run: float | None = None
    """Unix seconds."""
    task_id: str | None = None
    """The last task's."""
    unsent: bool = False
    """Whether that task may not have been sent: its scheduler died meanwhile."""


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's next step, from one of its times to a later one."""

    name: str
    after: float
    """``ScheduleRecord.since`` as it was seen."""
    until: float
    """As it is to be."""
    at: float
    """Unix seconds now."""
    task_id: str | None
    """Of the task that is sent; None: the times between were skipped."""


class Leadership(msgspec.Struct, frozen=True, kw_only=True):
    """Whose turn it is."""

    leader: str
    """The owner's name."""
    term: int
    """One higher with each new leader."""
    version: int
    """Another number whenever somebody has changed what is scheduled."""
